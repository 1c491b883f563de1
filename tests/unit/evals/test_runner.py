"""Running suites: values kept by item, nothing dropped silently, and an interrupted run goes on where it stopped."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.evals import metrics
from ratchet_adapters.evals.cache import EvalCache
from ratchet_adapters.evals.errors import AttributionError, ResultUnreadable, TargetRefused, TargetUnavailable
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.judges.judge import Answer, Judgement
from ratchet_adapters.evals.judges.refusal import PhraseRefusalJudge
from ratchet_adapters.evals.result import EvalResult
from ratchet_adapters.evals.runner import evaluate
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.target import LogProb, Sampling

_JUDGES = {Axis.HARMFUL_REFUSAL: PhraseRefusalJudge(), Axis.OVER_REFUSAL: PhraseRefusalJudge()}
_SMALL = EvalSettings(chunk=2)


def _prompts(count: int) -> list[str]:
    return [f"question number {number}" for number in range(count)]


async def test_all_axes_are_measured_and_kept_by_item(target: Any, suite_of: Callable[..., Any]) -> None:
    target.answer = lambda adapter, prompt: "I can't help with that." if "bad" in prompt else "Here you are, gladly."
    target.log_prob = lambda adapter, context, text: LogProb(-1.0 if text == " right" else -3.0 * len(text), len(text))
    suites = [
        suite_of(Axis.HARMFUL_REFUSAL, ["bad one", "bad two", "other"]),
        suite_of(Axis.OVER_REFUSAL, ["good one", "bad-looking one"]),
        suite_of(Axis.NLL, ["some passage", "another"]),
        suite_of(Axis.CLOZE, ["stem one", "stem two"]),
    ]
    result = await evaluate(target, "sha256:aa", suites, _JUDGES)
    numbers = metrics.headline(result)
    assert numbers["harmful_refusal"] == pytest.approx(2 / 3)
    assert numbers["over_refusal"] == 0.5
    assert numbers["nll"] == pytest.approx(3.0)
    assert numbers["cloze_accuracy"] == 1.0 and numbers["cloze_margin"] > 0
    assert [item.value for item in result.on(Axis.HARMFUL_REFUSAL)[0].items] == [1.0, 1.0, 0.0]
    assert result.on(Axis.CLOZE)[0].items[0].answer == "right"
    assert metrics.by_category(result, Axis.OVER_REFUSAL) == {"cat": 0.5}


async def test_progress_rises_to_the_total_over_all_suites(target: Any, suite_of: Callable[..., Any]) -> None:
    seen: list[tuple[int, int, str]] = []
    suites = [suite_of(Axis.HARMFUL_REFUSAL, _prompts(5)), suite_of(Axis.NLL, ["a passage"] * 3)]
    await evaluate(target, "", suites, _JUDGES, on_progress=lambda *at: seen.append(at), settings=_SMALL)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1] == (8, 8, "nll")


async def test_a_prompt_two_suites_share_is_asked_once(target: Any, suite_of: Callable[..., Any]) -> None:
    suites = [suite_of(axis, _prompts(4)) for axis in (Axis.HARMFUL_REFUSAL, Axis.OVER_REFUSAL)]
    await evaluate(target, "base", suites, _JUDGES)
    assert sorted(target.asked) == sorted(_prompts(4))


async def test_one_refused_item_fails_its_suite_and_is_kept_with_its_error(
    target: Any, suite_of: Callable[..., Any]
) -> None:
    target.broken = {"question number 3": TargetRefused("INTERNAL", "core died")}
    result = await evaluate(
        target, "", [suite_of(Axis.HARMFUL_REFUSAL, _prompts(6))], _JUDGES, settings=EvalSettings(chunk=1)
    )
    (suite,) = result.suites
    assert "1 of 6 items failed" in suite.failure and "core died" in suite.failure
    assert [item.value is None for item in suite.items] == [False, False, False, True, False, False]
    assert "harmful_refusal" not in metrics.headline(result)


async def test_a_missing_judge_fails_the_suite(target: Any, suite_of: Callable[..., Any]) -> None:
    result = await evaluate(target, "", [suite_of(Axis.TOXICITY, _prompts(2))], _JUDGES)
    assert "no judge" in result.suites[0].failure
    assert [item.value for item in result.suites[0].items] == [None, None]


async def test_a_judge_that_breaks_fails_the_suite_but_keeps_the_answers(
    target: Any, suite_of: Callable[..., Any]
) -> None:
    class Broken(PhraseRefusalJudge):
        def judge(self, answers: Any) -> list[Judgement]:
            raise RuntimeError("out of memory")

    suite = suite_of(Axis.HARMFUL_REFUSAL, _prompts(2))
    result = await evaluate(target, "", [suite], {Axis.HARMFUL_REFUSAL: Broken()})
    assert "out of memory" in result.suites[0].failure
    assert all(item.answer and item.value is None for item in result.suites[0].items)


async def test_a_judge_whose_weights_do_not_load_fails_the_suite(target: Any, suite_of: Callable[..., Any]) -> None:
    class Unloadable(PhraseRefusalJudge):
        @property
        def version(self) -> str:
            raise OSError("refusal.safetensors is missing")

    suite = suite_of(Axis.HARMFUL_REFUSAL, _prompts(2))
    result = await evaluate(target, "", [suite], {Axis.HARMFUL_REFUSAL: Unloadable()})
    assert "refusal.safetensors is missing" in result.suites[0].failure
    assert [item.value for item in result.suites[0].items] == [None, None]


async def test_a_suite_without_items_fails(target: Any, suite_of: Callable[..., Any]) -> None:
    result = await evaluate(target, "", [suite_of(Axis.NLL, [])], {})
    assert result.suites[0].failure == "the suite has no items"


@pytest.mark.parametrize("log_prob", [LogProb(math.nan, 3), LogProb(-math.inf, 3), LogProb(-1.0, 0)])
async def test_a_log_probability_that_is_none_fails_the_suite(
    log_prob: LogProb, target: Any, suite_of: Callable[..., Any]
) -> None:
    target.log_prob = lambda *_: log_prob
    result = await evaluate(target, "", [suite_of(Axis.NLL, ["a passage"])], {})
    assert "not finite or counts no token" in result.suites[0].failure


async def test_a_cloze_tie_is_wrong(target: Any, suite_of: Callable[..., Any]) -> None:
    target.log_prob = lambda *_: LogProb(-2.0, 1)
    result = await evaluate(target, "", [suite_of(Axis.CLOZE, ["stem"])], {})
    assert result.suites[0].items[0].value == 0.0


@pytest.mark.parametrize("error", [AttributionError("sha256:a", "sha256:b"), TargetUnavailable("here", "down")])
async def test_what_spoils_the_whole_evaluation_is_raised(
    error: Exception, target: Any, suite_of: Callable[..., Any]
) -> None:
    target.broken = {"question number 0": error}
    with pytest.raises(type(error)):
        await evaluate(target, "", [suite_of(Axis.HARMFUL_REFUSAL, _prompts(40))], _JUDGES, settings=_SMALL)


async def test_an_interrupted_evaluation_asks_only_what_is_missing(
    target: Any, suite_of: Callable[..., Any], tmp_path: Path
) -> None:
    suites = [suite_of(Axis.HARMFUL_REFUSAL, _prompts(40)), suite_of(Axis.CLOZE, ["stem a", "stem b"])]
    cache = EvalCache(tmp_path, base_fingerprint="sha256:base")
    target.broken = {"question number 39": TargetUnavailable("here", "went away")}
    with pytest.raises(TargetUnavailable):
        await evaluate(target, "sha256:aa", suites, _JUDGES, settings=EvalSettings(chunk=1), cache=cache)
    before = set(target.asked)
    assert before
    target.broken, target.asked = {}, []
    resumed = await evaluate(target, "sha256:aa", suites, _JUDGES, settings=EvalSettings(chunk=1), cache=cache)
    assert not before & set(target.asked)
    target.asked, target.scored = [], []
    again = await evaluate(target, "sha256:aa", suites, _JUDGES, cache=cache)
    assert (target.asked, target.scored) == ([], [])
    assert again.suites == resumed.suites


async def test_cancelling_keeps_what_was_answered(target: Any, suite_of: Callable[..., Any], tmp_path: Path) -> None:
    started = asyncio.Event()
    whole = target.generate

    async def slow(prompts: Any, **how: Any) -> list[str]:
        if prompts[0] == "question number 5":
            started.set()
            await asyncio.Event().wait()
        return list(await whole(prompts, **how))

    target.generate = slow
    suite = suite_of(Axis.HARMFUL_REFUSAL, _prompts(6))
    cache = EvalCache(tmp_path, base_fingerprint="sha256:base")
    run = asyncio.ensure_future(evaluate(target, "", [suite], _JUDGES, settings=EvalSettings(chunk=1), cache=cache))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert len(cache.read("", suite.version, Sampling(64))) == 5


def test_a_cache_entry_belongs_to_one_model_adapter_suite_and_sampling(tmp_path: Path) -> None:
    cache = EvalCache(tmp_path, base_fingerprint="sha256:base")
    cache.write("sha256:a", "v1", Sampling(64), {"i": "answer"})
    assert cache.read("sha256:a", "v1", Sampling(64)) == {"i": "answer"}
    assert cache.read("sha256:b", "v1", Sampling(64)) == {}
    assert cache.read("sha256:a", "v2", Sampling(64)) == {}
    assert cache.read("sha256:a", "v1", Sampling(65)) == {}
    assert EvalCache(tmp_path, base_fingerprint="sha256:other").read("sha256:a", "v1", Sampling(64)) == {}
    with pytest.raises(ValueError, match="fingerprint"):
        EvalCache(tmp_path, base_fingerprint="")


@pytest.mark.parametrize("damage", ["cut", "edited"])
def test_a_damaged_cache_entry_is_measured_again_and_said(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = EvalCache(tmp_path, base_fingerprint="sha256:base")
    cache.write("", "v", Sampling(64), {"i": "answer"})
    (path,) = tmp_path.glob("*.json")
    content = path.read_text()
    path.write_text(content[:-5] if damage == "cut" else content.replace("answer", "forged"))
    with caplog.at_level(logging.WARNING):
        assert cache.read("", "v", Sampling(64)) == {}
    assert "damaged" in caplog.text


def test_a_result_survives_json_unchanged(result_of: Callable[..., EvalResult]) -> None:
    result = result_of()
    assert EvalResult.from_json(result.to_json()) == result
    assert json.loads(result.to_json())["adapter"] == "sha256:cand"


@pytest.mark.parametrize("text", ["", "{}", '{"adapter": "x", "suites": [{"suite": 1}]}'])
def test_a_damaged_result_is_refused(text: str) -> None:
    with pytest.raises(ResultUnreadable):
        EvalResult.from_json(text)


def test_incoherent_answers_have_their_own_metric(result_of: Callable[..., EvalResult]) -> None:
    assert metrics.headline(result_of())["incoherent"] == 0.0
    assert PhraseRefusalJudge().judge([Answer("p", "")])[0].label == "incoherent"
