"""Real lm-eval against a real gRPC server; skipped where the package is not installed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from ratchet.v1 import engine_pb2, engine_pb2_grpc, inference_pb2, inference_pb2_grpc

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

from ratchet_adapters.evals.lm_eval_model import RatchetLM, windows


class _Service(engine_pb2_grpc.EngineServiceServicer, inference_pb2_grpc.InferenceServiceServicer):
    """Likes short continuations; answers with the prompt's last word and a second sentence."""

    async def Score(self, request: Any, context: Any) -> Any:
        results = [
            engine_pb2.ScoreResult(
                log_prob=-float(len(item.continuation)), tokens=1, worst_gap=0.0 if item.continuation == " a" else 2.0
            )
            for item in request.items
        ]
        return engine_pb2.ScoreResponse(results=results)

    async def Generate(self, request: Any, context: Any) -> Any:
        text = f"{request.prompt.split()[-1]}. More {request.sampling.max_tokens}"
        return inference_pb2.GenerateResponse(text=text, finish_reason=inference_pb2.FINISH_REASON_STOP)


async def _with(use: Any) -> Any:
    server = grpc.aio.server()
    engine_pb2_grpc.add_EngineServiceServicer_to_server(_Service(), server)
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(_Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        return await asyncio.to_thread(use, RatchetLM(f"127.0.0.1:{port}"))
    finally:
        await server.stop(None)


def _asked(*args: Any) -> Any:
    return SimpleNamespace(args=args)


async def test_continuations_whole_texts_and_answers_come_back_in_order() -> None:
    def use(model: RatchetLM) -> Any:
        scored = model.loglikelihood([_asked("Q", " a"), _asked("Q", " bbb")])
        whole = model.loglikelihood_rolling([_asked("word " * 1000), _asked("x")])
        how = {"until": [". "], "max_gen_toks": 7}
        return scored, whole, model.generate_until([_asked("say one", how), _asked("say two", {"until": "zzz"})])

    scored, whole, answers = await _with(use)
    assert scored == [(-2.0, True), (-4.0, False)]
    assert whole == [-5000.0, -1.0]
    assert answers == ["one", "two. More 256"]


async def test_sampling_is_refused() -> None:
    with pytest.raises(ValueError, match="greedily"):
        await _with(lambda model: model.generate_until([_asked("p", {"do_sample": True, "temperature": 0.7})]))


@pytest.mark.parametrize("text", ["", "short", "a few words here " * 50, "x" * 130])
def test_windows_are_the_text_and_each_follows_the_one_before(text: str) -> None:
    found = windows(text, 40)
    assert "".join(part for _, part in found) == text
    assert all(len(part) <= 40 for _, part in found)
    assert [context for context, _ in found[1:]] == [part for _, part in found[:-1]]


async def test_the_harness_itself_runs_a_task_through_it() -> None:
    evaluator: Any = pytest.importorskip("lm_eval.evaluator", exc_type=ImportError)
    from lm_eval.api.task import ConfigurableTask

    datasets: Any = pytest.importorskip("datasets")
    documents = datasets.Dataset.from_list([{"q": f"question {n}"} for n in range(4)])
    task = ConfigurableTask(
        config={
            "task": "made_here",
            "custom_dataset": lambda **_: {"test": documents},
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "{{q}}",
            "doc_to_choice": ["a", "bbb"],
            "doc_to_target": 0,
            "metric_list": [{"metric": "acc"}],
        }
    )
    found = await _with(
        lambda model: evaluator.simple_evaluate(model, tasks=[task], bootstrap_iters=0, verbosity="ERROR")
    )
    assert found["results"]["made_here"]["acc,none"] == 1.0
