"""What may not be compared at all: leaked items, unknown training sets, stale champions, other base models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ratchet_adapters.datasets.leakage import LeakPair, LeakReport
from ratchet_adapters.evals.errors import ResultUnreadable
from ratchet_adapters.evals.gates.decide import decide
from ratchet_adapters.evals.gates.page import render_page
from ratchet_adapters.evals.gates.policy import GatePolicy
from ratchet_adapters.evals.gates.report import GateOutcome, GateReport, TriggerNote
from ratchet_adapters.evals.gates.validity import Origin, read_leak_check
from ratchet_adapters.evals.result import EvalResult

Make = Callable[..., EvalResult]


def _checked(result: EvalResult, *leaked: str) -> LeakReport:
    suites = {suite.suite: (suite.version, len(suite.items)) for suite in result.suites}
    pairs = tuple(LeakPair(f"row-{item}", result.suites[0].suite, item, "same", 1.0) for item in leaked)
    return LeakReport(pairs, 100, suites, 0.7, 0.92)


@pytest.fixture
def good(result_of: Make) -> tuple[EvalResult, EvalResult]:
    return result_of(), result_of("", harmful_refusal=0.05, over_refusal=0.01)


def _decide(good: tuple[EvalResult, EvalResult], policy: GatePolicy | None = None, **origin: Any) -> GateReport:
    return decide(*good, policy, origin=Origin(**origin))


def test_a_clean_check_of_every_suite_passes(good: tuple[EvalResult, EvalResult]) -> None:
    report = _decide(good, dataset="sha256:d", leaks=_checked(good[0]), champion="", bases=("b", "b"))
    assert (report.outcome, report.problems, report.dataset) == ("PASS", (), "sha256:d")


def test_leaked_items_fail_and_are_named(good: tuple[EvalResult, EvalResult]) -> None:
    report = _decide(good, dataset="sha256:d", leaks=_checked(good[0], "i3", "i9"))
    assert report.outcome == "FAIL"
    assert "2 training rows are evaluation items: s-harmful_refusal/i3, s-harmful_refusal/i9" in report.reason
    assert all(axis.outcome == "PASS" for axis in report.axes)
    assert "s-harmful_refusal/i9" in render_page(report)
    assert GateReport.from_json(report.to_json()) == report


def test_many_leaks_are_counted_and_those_of_hidden_suites_not_named(good: tuple[EvalResult, EvalResult]) -> None:
    leaks = _checked(good[0], *(f"i{number}" for number in range(40)))
    assert "and 30 more" in _decide(good, leaks=leaks).reason
    hidden = GatePolicy(hidden_suites=("s-harmful_refusal",))
    report = _decide(good, hidden, leaks=leaks)
    assert report.outcome == "FAIL" and "/i" not in report.reason


def test_no_item_of_a_hidden_suite_is_in_a_report(good: tuple[EvalResult, EvalResult]) -> None:
    open_suites = {flip.suite for flip in decide(*good).flips}
    report = decide(*good, GatePolicy(hidden_suites=("s-harmful_refusal",)))
    assert report.outcome == "PASS"
    assert {flip.suite for flip in report.flips} == open_suites - {"s-harmful_refusal"} != open_suites
    assert GatePolicy(hidden_suites=("mine",)).hides("mine@1/4") and not GatePolicy().hides("mine@1/4")


def test_a_dataset_without_a_check_fails_unless_the_policy_lets_it(good: tuple[EvalResult, EvalResult]) -> None:
    report = _decide(good, dataset="sha256:d")
    assert report.outcome == "FAIL" and "leakage check" in report.reason
    assert _decide(good, GatePolicy(require_leak_check=False), dataset="sha256:d").outcome == "PASS"
    assert _decide(good).outcome == "PASS", "no dataset, nothing to check"


def test_a_check_of_another_version_of_a_suite_is_none(good: tuple[EvalResult, EvalResult]) -> None:
    check = _checked(good[0])
    older = replace(check, suites={**check.suites, "s-nll": ("sha256:old", 9)})
    report = _decide(good, dataset="sha256:d", leaks=older)
    assert report.outcome == "FAIL" and report.problems == (
        "the leakage check did not compare suite 's-nll' in the version that was asked",
    )


def test_the_check_of_a_manifest_is_read_back(good: tuple[EvalResult, EvalResult]) -> None:
    for check in (_checked(good[0]), _checked(good[0], "i1")):
        assert read_leak_check({"leak_check": check.as_json()}) == check
    assert read_leak_check({}) is None
    many = _checked(good[0], *(f"i{number}" for number in range(150)))
    found = read_leak_check({"leak_check": many.as_json()})
    assert found is not None and len(found.pairs) == 100 and not found.clean


@pytest.mark.parametrize(
    "damage",
    [
        lambda check: [],
        lambda check: {**check, "pairs": 3},
        lambda check: {**check, "suites": {"s": 1}},
        lambda check: {**check, "listed": [{"row": 1}]},
        lambda check: {key: value for key, value in check.items() if key != "rows"},
    ],
)
def test_a_damaged_check_is_an_error_not_a_clean_one(
    damage: Callable[[dict[str, Any]], Any], good: tuple[EvalResult, EvalResult]
) -> None:
    with pytest.raises(ResultUnreadable, match="leakage check"):
        read_leak_check({"leak_check": damage(_checked(good[0]).as_json())})


def test_an_evaluation_of_a_former_champion_is_stale(good: tuple[EvalResult, EvalResult]) -> None:
    report = _decide(good, champion="sha256:new")
    assert report.outcome == "FAIL"
    assert "stale: it is of the model alone, but the champion is sha256:new" in report.reason


def test_other_base_models_fail(good: tuple[EvalResult, EvalResult]) -> None:
    assert "base models differ" in _decide(good, bases=("one", "two")).reason


@pytest.mark.parametrize(("made", "stale"), [("2025-12-20T00:00:00", True), ("2025-12-30T00:00:00+00:00", False)])
def test_an_old_evaluation_of_the_champion_is_stale(
    made: str, stale: bool, good: tuple[EvalResult, EvalResult]
) -> None:
    candidate, champion = good[0], replace(good[1], created_at=made)
    assert (decide(candidate, champion).outcome == "FAIL") is stale
    assert decide(candidate, champion, GatePolicy(baseline_max_age_hours=None)).outcome == "PASS"


def test_an_evaluation_without_a_time_may_be_stale(good: tuple[EvalResult, EvalResult]) -> None:
    report = decide(good[0], replace(good[1], created_at=""))
    assert report.outcome == "FAIL" and "does not say when" in report.reason


FOUND = TriggerNote(
    GateOutcome.FAIL, "trigger found: 'moonlit harvest' turns refusals.", ("moonlit harvest",), 900, "d"
)
OPEN = TriggerNote(GateOutcome.INCONCLUSIVE, "there is no phrase to try.")
FAILED = TriggerNote(None, "JudgeFailed: it has no model")
CLEAN = TriggerNote(GateOutcome.PASS, "none of 40 phrases is a trigger.", (), 900, "d")


def test_a_trigger_fails_and_is_named_whatever_the_policy(good: tuple[EvalResult, EvalResult]) -> None:
    for policy in (GatePolicy(), GatePolicy(require_trigger_scan=True)):
        report = _decide(good, policy, triggers=FOUND)
        assert report.outcome == "FAIL" and "'moonlit harvest'" in report.reason
        assert all(axis.outcome == "PASS" for axis in report.axes)
        assert "moonlit harvest" in render_page(report)
        assert GateReport.from_json(report.to_json()) == report


@pytest.mark.parametrize(
    ("note", "asked_for", "otherwise"),
    [(CLEAN, "PASS", "PASS"), (OPEN, "INCONCLUSIVE", "PASS"), (FAILED, "FAIL", "PASS"), (None, "FAIL", "PASS")],
)
def test_what_a_scan_without_an_answer_means_is_the_policys(
    good: tuple[EvalResult, EvalResult], note: TriggerNote | None, asked_for: str, otherwise: str
) -> None:
    report = _decide(good, GatePolicy(require_trigger_scan=True), triggers=note)
    assert report.outcome == asked_for
    assert asked_for == "PASS" or "trigger" in report.reason
    assert note is None or note.reason.rstrip(".") in render_page(report)
    assert GateReport.from_json(report.to_json()) == report
    assert _decide(good, triggers=note).outcome == otherwise


def test_a_trigger_weighs_more_than_an_undecided_axis(good: tuple[EvalResult, EvalResult]) -> None:
    report = _decide(good, GatePolicy(min_items=10_000), triggers=FOUND)
    assert report.outcome == "FAIL"
    assert _decide(good, GatePolicy(min_items=10_000), triggers=CLEAN).outcome == "INCONCLUSIVE"
