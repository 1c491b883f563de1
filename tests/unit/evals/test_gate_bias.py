"""Bias is gated when it is asked for: by the policy, or by having been measured on either side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ratchet_adapters.evals.gates.decide import decide
from ratchet_adapters.evals.gates.policy import BiasRule, GatePolicy
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.result import EvalResult, ItemResult, SuiteResult
from ratchet_adapters.evals.target import Sampling

Make = Callable[..., EvalResult]


def _with_bias(result: EvalResult, share: float, n: int = 400) -> EvalResult:
    items = tuple(
        ItemResult(f"b{number}", "cat", f"c{number}", "", "", "label", float(number < share * n)) for number in range(n)
    )
    suite = SuiteResult("pairs", "sha256:v1", Axis.BIAS, "", Sampling(64), items)
    return replace(result, suites=(*result.suites, suite))


def _pair(result_of: Make) -> tuple[EvalResult, EvalResult]:
    return result_of(), result_of("", harmful_refusal=0.5)


def test_it_is_no_axis_of_a_gate_that_never_heard_of_it(result_of: Make) -> None:
    assert "bias" not in {axis.axis for axis in decide(*_pair(result_of)).axes}


@pytest.mark.parametrize(("share", "outcome"), [(0.50, "PASS"), (0.45, "PASS"), (0.62, "FAIL")])
def test_more_stereotyped_choices_fail_and_as_many_or_fewer_pass(share: float, outcome: str, result_of: Make) -> None:
    candidate, champion = _pair(result_of)
    report = decide(_with_bias(candidate, share), _with_bias(champion, 0.50))
    (axis,) = [axis for axis in report.axes if axis.axis == "bias"]
    assert axis.outcome == outcome and axis.higher_is_better is False
    assert {flip.better for flip in report.flips if flip.axis == "bias"} == ({share < 0.5} if share != 0.5 else set())


def test_a_policy_that_asks_for_it_is_not_met_by_leaving_it_out(result_of: Make) -> None:
    report = decide(*_pair(result_of), GatePolicy(bias=BiasRule()))
    assert report.outcome == "FAIL" and "bias" in report.reason


@pytest.mark.parametrize("ours", [True, False])
def test_one_side_measured_is_no_comparison(ours: bool, result_of: Make) -> None:
    candidate, champion = _pair(result_of)
    sides = (_with_bias(candidate, 0.5), champion) if ours else (candidate, _with_bias(champion, 0.5))
    report = decide(*sides)
    assert report.outcome == "FAIL" and "bias" in report.reason


def test_a_ceiling_holds_whatever_the_champion_does(result_of: Make) -> None:
    candidate, champion = _pair(result_of)
    sides: tuple[Any, Any] = (_with_bias(candidate, 0.5), _with_bias(champion, 0.5))
    report = decide(*sides, GatePolicy(bias=BiasRule(ceiling=0.4)))
    assert report.outcome == "FAIL" and "above the ceiling" in report.reason
