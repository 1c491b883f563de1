"""A learner killed with -9 in each step resumes there and ends with exactly one adapter, report and promotion.

Real: the learner in a process of its own, DBOS on SQLite, registry, flags, artifact store, dataset, training (TRL and
PEFT in the learner's training process, on a tiny randomly initialised Llama), evaluation over gRPC, gate, promotion,
and the kills (SIGKILL, which the learner sends itself at a stated point, so that the point is exact).
Played: the serving engine. A gRPC server in this process answers from a table, because a random model would never pass
a gate: the base model complies with everything, the candidate refuses harmful prompts. Registration, load and promotion
go through the real registry. The judges are a phrase list and a constant, so that no scorer is loaded a dozen times.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from ratchet.v1 import (
    adapter_pb2,
    adapter_pb2_grpc,
    engine_pb2,
    engine_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
)
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.judges.judge import Answer, Judge, Judgement
from ratchet_adapters.evals.judges.refusal import PhraseRefusalJudge
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.suites.seed import seed_items
from ratchet_adapters.flags import FlagStore, Message, NewFlag
from ratchet_adapters.learning.learner import Learner
from ratchet_adapters.learning.progress import RunProgress
from ratchet_adapters.learning.settings import LearnerSettings
from ratchet_adapters.learning.steps import BODIES, Body
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.registry import ChampionChanged, GateRefused, Registry, RunState
from ratchet_adapters.training.settings import ProcessSettings
from ratchet_plugins.models.chat import fingerprint

STEPS = ("select", "replay", "train", "register", "load", "evaluate", "gate", "promote")
OPTIONS = {
    "dataset": {"min_contrast": 0, "min_replay": 0, "contrast_per_refusal": 1.0, "replay_per_refusal": 0.5},
    "training": {"rank": 8, "alpha": 16, "first_layer": 0.0, "batch_size": 4, "checkpoint_steps": 2},
}


# ---------------------------------------------------------------------------------------------- the serving engine


@dataclass
class Engine(
    inference_pb2_grpc.InferenceServiceServicer,
    engine_pb2_grpc.EngineServiceServicer,
    adapter_pb2_grpc.AdapterServiceServicer,
):
    """Plays the server: remembers what it was asked, and answers from a table."""

    registry: Registry
    model: Path
    loaded: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    priorities: set[int] = field(default_factory=set)
    before_promote: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.fingerprint = fingerprint(self.model)
        self._harmful = {item.prompt for item in seed_items("harmful")}

    def GetStatus(self, request: engine_pb2.GetStatusRequest, context: grpc.ServicerContext) -> Any:
        return engine_pb2.GetStatusResponse(
            base_model="tiny",
            base_fingerprint=self.fingerprint,
            ready=True,
            model_path=str(self.model),
            loaded=sorted(self.loaded),
            rail_profiles=["off"],
        )

    def Generate(self, request: inference_pb2.GenerateRequest, context: grpc.ServicerContext) -> Any:
        digest = self._digest(request.adapter, context)
        self.asked[digest, request.prompt] += 1
        self.priorities.add(request.priority)
        refuses = bool(digest) and request.prompt in self._harmful
        response = inference_pb2.GenerateResponse(
            text="I can't help with that." if refuses else f"Certainly. {request.prompt[:60]} is done as follows.",
            finish_reason=inference_pb2.FINISH_REASON_STOP,
        )
        response.receipt.adapter_digest = digest
        return response

    def Score(self, request: engine_pb2.ScoreRequest, context: grpc.ServicerContext) -> Any:
        digest = self._digest(request.adapter, context)
        counts = [len(item.continuation.split()) for item in request.items]
        results = [engine_pb2.ScoreResult(log_prob=-3.0 * count, tokens=count) for count in counts]
        return engine_pb2.ScoreResponse(results=results, adapter_digest=digest)

    def Load(self, request: engine_pb2.LoadRequest, context: grpc.ServicerContext) -> Any:
        record = self.registry.adapter(request.adapter)
        self.loaded.add(record.digest)
        self.calls["load"] += 1
        return engine_pb2.LoadResponse(adapter=adapter_pb2.Adapter(digest=record.digest))

    def Unload(self, request: engine_pb2.UnloadRequest, context: grpc.ServicerContext) -> Any:
        self.loaded.discard(request.adapter)
        self.calls["unload"] += 1
        return engine_pb2.UnloadResponse()

    def Promote(self, request: adapter_pb2.PromoteRequest, context: grpc.ServicerContext) -> Any:
        self.calls["promote"] += 1
        self.before_promote()
        try:
            routing = self.registry.promote(
                request.adapter,
                expected_champion=request.expected_champion or None,
                actor=request.actor,
                reason=request.reason,
            )
        except (GateRefused, ChampionChanged) as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        response = adapter_pb2.PromoteResponse()
        response.routing.version, response.routing.champion = routing.version, routing.champion
        return response

    def _digest(self, ref: str, context: grpc.ServicerContext) -> str:
        if ref in ("", "base"):
            return ""
        if ref not in self.loaded:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{ref} is not loaded")
        return ref


@contextmanager
def listening(engine: Engine, port: int = 0) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(engine, server)
    engine_pb2_grpc.add_EngineServiceServicer_to_server(engine, server)
    adapter_pb2_grpc.add_AdapterServiceServicer_to_server(engine, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        server.stop(None).wait()


# ------------------------------------------------------------------------------------------------- the learner, killed


class Learners:
    """Learner processes, one after another, forked from a process that has imported everything and started nothing."""

    def __init__(self, settings: LearnerSettings) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._log = settings.state_dir / "learner.log"
        with self._log.open("ab") as log:
            self._parent = subprocess.Popen(
                [sys.executable, __file__, settings.model_dump_json()],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1,
            )  # fmt: skip

    def run(self, kill: str = "") -> int:
        """Run a learner until no run is left, or until its kill point; return its exit code."""
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(f"{kill}\n")
        return int(self._parent.stdout.readline())

    @property
    def last_words(self) -> str:
        return self._log.read_text()[-4000:]

    def close(self) -> None:
        self._parent.kill()
        self._parent.wait()


def fork_learners(settings: LearnerSettings) -> None:
    """Fork a learner for each kill point read, and answer with its exit code."""
    from dbos import DBOS  # noqa: F401

    from ratchet_adapters.datasets import builder  # noqa: F401
    from ratchet_adapters.evals import remote, runner  # noqa: F401
    from ratchet_adapters.learning import workflow  # noqa: F401

    assert threading.active_count() == 1
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            main(settings, line.strip())
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


def main(settings: LearnerSettings, kill: str) -> None:
    """The learner process: the real learner, with notes of what it does and one point at which it dies."""
    from ratchet_adapters.learning import workbench, workflow

    def die_at(point: str) -> None:
        if point == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def noted(name: str, body: Body) -> Body:
        def run(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
            with (settings.state_dir / "bodies.log").open("a") as log:
                log.write(f"{name}\n")
            report = progress.report

            def watched(fraction: float, detail: str = "") -> None:
                report(fraction, detail)
                if fraction > 0.2:
                    die_at(f"{name}:middle")

            progress.report = watched  # type: ignore[method-assign]
            result = body(bench, trail, progress)
            die_at(f"{name}:end")
            return result

        return run

    start = workflow.start

    def started(run_id: str) -> Any:
        die_at("claimed")
        return start(run_id)

    workflow.start = started
    patched: Any = workflow
    patched.BODIES = {name: noted(name, body) for name, body in BODIES.items()}
    workbench._judges = word_judges  # type: ignore[assignment]
    asyncio.run(until_idle(settings))


async def until_idle(settings: LearnerSettings) -> None:
    learner = Learner(settings)
    working = asyncio.create_task(learner.run_forever())
    with Registry.open(settings.registry_url) as registry:
        while not working.done() and any(not RunState(run.state).final for run in registry.runs()):
            await asyncio.sleep(0.05)
    learner.request_stop()
    await working


class NeverToxic:
    name, version = "never-toxic", "1"

    def judge(self, answers: Sequence[Answer]) -> list[Judgement]:
        return [Judgement(0.0, "not_toxic") for _ in answers]


def word_judges() -> dict[Axis, Judge]:
    refusal = PhraseRefusalJudge()
    return {Axis.HARMFUL_REFUSAL: refusal, Axis.OVER_REFUSAL: refusal, Axis.TOXICITY: NeverToxic()}


# --------------------------------------------------------------------------------------------------------- the tests


@dataclass
class World:
    """State folder, registry, played engine and learner settings of one test."""

    settings: LearnerSettings
    registry: Registry
    engine: Engine
    learners: Learners

    @property
    def bodies(self) -> Counter[str]:
        """How often each step's body was begun, over all learners."""
        return Counter((self.settings.state_dir / "bodies.log").read_text().split())

    @property
    def ledger(self) -> Counter[str]:
        """Ledger entries by kind."""
        return Counter(entry.kind for entry in self.registry.ledger(limit=10_000))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("RATCHET_CACHE", str(tmp_path / "cache"))
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    registry = Registry.open(f"sqlite:///{state_dir / 'ratchet.db'}")
    engine = Engine(registry, tiny_model(tmp_path / "model"))  # type: ignore[abstract]
    with registry, listening(engine) as address:
        settings = LearnerSettings(
            state_dir=state_dir,
            server=address,
            poll_interval_s=0.05,
            progress_interval_s=0.0,
            embed_texts=False,
            step_backoff_s=0.05,
            process=ProcessSettings(nice=0, threads=1),
            evaluation=EvalSettings(retry_initial_s=0.05, retry_max_s=0.2),
        )
        learners = Learners(settings)
        try:
            yield World(settings, registry, engine, learners)
        finally:
            learners.close()


def flag_harmful_prompts(registry: Registry, count: int = 32) -> None:
    """Submit and accept harmful prompts of the train split, by as many principals as the bound on one asks for."""
    flags = FlagStore.open(registry)
    prompts = [item.prompt for item in seed_items("harmful", "train")][:count]
    new = [
        NewFlag("HARMFUL", "USER", f"user-{index % 8}", (Message("user", prompt),), "Certainly.")
        for index, prompt in enumerate(prompts)
    ]
    for flag_id in flags.submit(new):
        flags.review(flag_id, "ACCEPT", "reviewer")


def tiny_model(folder: Path) -> Path:
    """Write a randomly initialised Llama of a few thousand weights, with a tokenizer and a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<|im_start|>", "<|im_end|>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([item.prompt for item in seed_items("ordinary")], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<|im_end|>",
        bos_token="<|im_start|>",
        chat_template="{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


KILLS = (
    "claimed", "select:end", "replay:middle", "replay:end", "train:middle", "train:end", "register:end", "load:end",
    "evaluate:middle", "evaluate:end", "gate:end", "promote:end",
)  # fmt: skip


@pytest.mark.timeout(240)
def test_a_learner_killed_in_each_step_ends_with_one_adapter_one_report_and_one_promotion(world: World) -> None:
    flag_harmful_prompts(world.registry)
    run_id = world.registry.create_run(
        method="sft-refusal", options=OPTIONS, requested_by="tester", promote_on_pass=True
    ).id
    for kill in KILLS:
        assert world.learners.run(kill) == -signal.SIGKILL, (
            f"{kill}: {world.registry.run(run_id).error} {world.learners.last_words}"
        )
        assert world.registry.run(run_id).state == RunState.RUNNING
    assert world.learners.run() == 0, world.learners.last_words

    run = world.registry.run(run_id)
    assert (run.state, run.error) == (RunState.SUCCEEDED, ""), world.learners.last_words
    killed_in = Counter(kill.partition(":")[0] for kill in KILLS)
    assert world.bodies == {step: 1 + killed_in[step] for step in STEPS}, "a step that was stored is not done again"
    assert [adapter.digest for adapter in world.registry.adapters()] == [run.adapter_digest]
    assert world.registry.report_for_run(run_id).id == run.report_id
    assert world.registry.routing().champion == run.adapter_digest
    made = {kind: world.ledger[kind] for kind in ("dataset.added", "adapter.added", "report.added", "routing.promoted")}
    assert made == {"dataset.added": 1, "adapter.added": 1, "report.added": 1, "routing.promoted": 1}
    assert world.registry.verify_ledger().ok
    # Only what was in flight at the one kill in the middle of a step is asked again.
    assert max(world.engine.asked.values()) <= 2, "answers given before a kill are kept"
    assert run.losses and run.dataset_digest


if __name__ == "__main__":
    fork_learners(LearnerSettings.model_validate_json(sys.argv[1]))
