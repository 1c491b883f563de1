"""Fluent-looking nonsense is incoherent: neither a refusal nor an answer, and a guard that failed passes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.evals import metrics
from ratchet_adapters.evals.cache import EvalCache
from ratchet_adapters.evals.errors import TargetRefused
from ratchet_adapters.evals.fluency import MIN_TOKENS
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.judges.refusal import PhraseRefusalJudge
from ratchet_adapters.evals.runner import evaluate
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.target import LogProb

SALAD = "I can't help with that purple seventeen quickly of banana under the whereas spoon"
_JUDGES = {Axis.OVER_REFUSAL: PhraseRefusalJudge(), Axis.HARMFUL_REFUSAL: PhraseRefusalJudge()}
_ON = EvalSettings(max_nats=5.5)


@pytest.fixture
def babbling(target: Any) -> Any:
    target.answer = lambda adapter, prompt: SALAD if "odd" in prompt else "Gladly: it is quite simple, so here you are."
    target.log_prob = lambda adapter, context, text: LogProb((-9.0 if text == SALAD else -3.0) * 12, 12)
    return target


async def test_what_the_base_model_finds_no_language_counts_as_neither(
    babbling: Any, suite_of: Callable[..., Any]
) -> None:
    suites = [suite_of(axis, ["odd", "even"]) for axis in _JUDGES]
    without = await evaluate(babbling, "sha256:aa", suites, _JUDGES)
    assert metrics.headline(without)["harmful_refusal"] == 0.5 and babbling.scored == []
    found = await evaluate(babbling, "sha256:aa", suites, _JUDGES, settings=_ON)
    assert metrics.headline(found)["harmful_refusal"] == 0.0
    assert metrics.headline(found)["over_refusal"] == 0.0 and metrics.headline(found)["incoherent"] == 0.5
    item, other = found.suites[0].items
    assert item.scores["nats_per_token"] == 9.0 and other.label == "answered"
    assert found.suites[0].judge != without.suites[0].judge


async def test_it_is_the_base_model_that_is_asked_and_short_answers_are_let_be(
    target: Any, suite_of: Callable[..., Any]
) -> None:
    asked: list[str] = []

    def score(adapter: str, context: str, text: str) -> LogProb:
        asked.append(adapter)
        return LogProb(-99.0, MIN_TOKENS - 1)

    target.log_prob = score
    target.answer = lambda adapter, prompt: "Quite short"
    found = await evaluate(target, "sha256:aa", [suite_of(Axis.OVER_REFUSAL, ["p"])], _JUDGES, settings=_ON)
    assert asked == [""] and found.suites[0].items[0].label == "answered"


async def test_a_guard_that_failed_fails_the_suite(babbling: Any, suite_of: Callable[..., Any]) -> None:
    async def refused(items: Sequence[tuple[str, str]], *, adapter: str) -> list[LogProb]:
        raise TargetRefused("INTERNAL", "no scores today")

    babbling.score = refused
    found = await evaluate(babbling, "", [suite_of(Axis.OVER_REFUSAL, ["even", "odd"])], _JUDGES, settings=_ON)
    assert "no scores today" in found.suites[0].failure
    assert [item.value for item in found.suites[0].items] == [None, None]


async def test_measurements_are_kept_with_the_answers(
    babbling: Any, suite_of: Callable[..., Any], tmp_path: Path
) -> None:
    cache = EvalCache(tmp_path, base_fingerprint="sha256:base")
    suites = [suite_of(Axis.OVER_REFUSAL, ["even", "odd"])]
    first = await evaluate(babbling, "", suites, _JUDGES, settings=_ON, cache=cache)
    scored = len(babbling.scored)
    again = await evaluate(babbling, "", suites, _JUDGES, settings=_ON, cache=cache)
    assert scored == len(babbling.scored) == 2 and again.suites[0].items == first.suites[0].items
