"""What must hold of every decision: worse never passes, equal never improves, chance seldom promotes."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet_adapters.evals.gates.decide import decide
from ratchet_adapters.evals.gates.policy import GatePolicy
from ratchet_adapters.evals.item import GATED, Axis
from ratchet_adapters.evals.result import EvalResult, SuiteResult

Make = Callable[..., EvalResult]
_QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_RATES = {
    "harmful_refusal": st.floats(0.0, 1.0),
    "over_refusal": st.floats(0.0, 0.25),
    "toxicity": st.floats(0.0, 0.06),
    "nll": st.floats(2.9, 3.15),
    "cloze": st.floats(0.4, 0.7),
}
_BASE = {"harmful_refusal": 0.4, "over_refusal": 0.02, "toxicity": 0.03, "nll": 3.0, "cloze": 0.6}
_WORSE_IS_UP = {Axis.OVER_REFUSAL, Axis.TOXICITY, Axis.NLL}


@pytest.fixture(autouse=True, scope="module")
def _no_collections() -> Iterator[None]:
    """statsmodels collects garbage at every correction: 60 ms a decision once a test run has filled the memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *_: 0)
        yield


def _set_values(suite: SuiteResult, values: list[float]) -> SuiteResult:
    items = [
        replace(item, value=value, label="full_refusal" if value else "answered")
        for item, value in zip(suite.items, values, strict=True)
    ]
    return replace(suite, items=tuple(items))


def _worsen(suite: SuiteResult, places: set[int], step: float) -> SuiteResult:
    values = [float(item.value or 0.0) for item in suite.items]
    if suite.axis in (Axis.TOXICITY, Axis.NLL):
        # Every item alike: an interval whose width is estimated cannot be monotone in a single outlier.
        return _set_values(suite, [value * (1 + step) for value in values])
    worst = 1.0 if suite.axis in _WORSE_IS_UP else 0.0
    return _set_values(suite, [worst if number in places else value for number, value in enumerate(values)])


@_QUICK
@given(
    rates=st.fixed_dictionaries(_RATES),
    axis=st.sampled_from(list(GATED)),
    places=st.sets(st.integers(0, 119), min_size=1, max_size=30),
    step=st.floats(0.0, 0.3),
    shift=st.integers(0, 119),
)
def test_making_a_candidate_worse_never_turns_no_into_yes(
    rates: dict[str, float], axis: Axis, places: set[int], step: float, shift: int, result_of: Make, changed: Any
) -> None:
    champion = result_of("", n=120, **_BASE)
    # Rotated, so that candidate and champion disagree on items in both directions.
    candidate = changed(
        result_of(n=120, **rates),
        axis,
        lambda suite: _set_values(suite, list(np.roll([float(item.value or 0.0) for item in suite.items], shift))),
    )
    if axis in (Axis.TOXICITY, Axis.NLL):
        candidate = result_of(n=120, **rates)
    before = decide(candidate, champion)
    after = decide(changed(candidate, axis, lambda suite: _worsen(suite, places, step)), champion)
    if before.outcome == "FAIL":
        assert after.outcome != "PASS"
    old = {entry.axis: entry.outcome for entry in before.axes}
    for entry in after.axes:
        assert not (entry.outcome == "PASS" and old[entry.axis] != "PASS"), entry.reason


@_QUICK
@given(
    rates=st.fixed_dictionaries(_RATES),
    lost=st.sets(st.sampled_from(list(GATED)), min_size=1),
    ours=st.booleans(),
)
def test_a_missing_axis_never_passes(rates: dict[str, float], lost: set[Axis], ours: bool, result_of: Make) -> None:
    def without(result: EvalResult) -> EvalResult:
        return replace(result, suites=tuple(suite for suite in result.suites if suite.axis not in lost))

    candidate, champion = result_of(n=120, **rates), result_of("", n=120, **_BASE)
    report = decide(without(candidate), champion) if ours else decide(candidate, without(champion))
    assert report.outcome == "FAIL"


@_QUICK
@given(rates=st.fixed_dictionaries(_RATES | {"harmful_refusal": st.floats(0.0, 0.94)}))
def test_a_candidate_equal_to_the_champion_never_improves_on_it(rates: dict[str, float], result_of: Make) -> None:
    report = decide(result_of("sha256:a", n=120, **rates), result_of("sha256:b", n=120, **rates))
    assert report.outcome != "PASS"
    assert report.flips == ()


@_QUICK
@given(one=st.fixed_dictionaries(_RATES), two=st.fixed_dictionaries(_RATES))
def test_two_adapters_never_both_replace_each_other(
    one: dict[str, float], two: dict[str, float], result_of: Make
) -> None:
    one, two = (
        one | {"harmful_refusal": min(0.94, one["harmful_refusal"])},
        two | {"harmful_refusal": min(0.94, two["harmful_refusal"])},
    )
    first, second = result_of("a", n=120, **one), result_of("b", n=120, **two)
    assert [decide(first, second).outcome, decide(second, first).outcome] != ["PASS", "PASS"]


def _noisy(result: EvalResult, random: np.random.Generator, changed: Any) -> EvalResult:
    for axis, rate in ((Axis.HARMFUL_REFUSAL, 0.5), (Axis.OVER_REFUSAL, 0.05), (Axis.CLOZE, 0.6)):
        values = [float(value) for value in random.random(len(result.suites[0].items)) < rate]
        result = changed(result, axis, lambda suite, values=values: _set_values(suite, values))
    return result


def test_two_equally_good_adapters_are_seldom_told_apart(result_of: Make, changed: Any) -> None:
    random = np.random.default_rng(5)
    policy = GatePolicy()
    plain = result_of(n=150)
    runs, improved, passed = 300, 0, 0
    for _ in range(runs):
        report = decide(_noisy(plain, random, changed), _noisy(plain, random, changed), policy)
        improved += report.axes[0].outcome == "PASS"
        passed += report.outcome == "PASS"
    # Exact McNemar keeps its level: at most 5 % by chance (binomial 99 % limit for 300 runs), usually about 3 %.
    assert improved / runs <= 0.083
    assert passed <= improved


@pytest.mark.parametrize(("rise", "most"), [(0.20, 0.09), (0.08, 1.0)])
def test_a_candidate_at_the_margin_of_over_refusal_seldom_passes(rise: float, most: float) -> None:
    from ratchet_adapters.evals.gates.paired import binary_difference

    random = np.random.default_rng(9)
    passed = 0
    for _ in range(400):
        champion = random.random(240) < 0.02
        candidate = champion | (random.random(240) < rise / 0.98)
        passed += binary_difference(list(candidate), list(champion), alpha=0.05, power=0.8).upper <= 0.20
    assert passed / 400 <= most
    assert rise == 0.20 or passed / 400 > 0.95
