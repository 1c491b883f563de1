"""Error rates of the gate over thousands of candidates, drawn from models and from measured outcomes.

Every candidate goes through the functions the gate uses. A rate may exceed its nominal value by three standard errors
of the simulation (0.1 %), no more. `measured_pair.json` holds outcomes of a real champion and a real candidate; where
they are the population and the margin is their difference, a resampled candidate is exactly at the margin.
"""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ratchet_adapters.evals.gates.axes import Finding, share_p
from ratchet_adapters.evals.gates.decide import decide
from ratchet_adapters.evals.gates.paired import (
    Difference,
    binary_difference,
    design_effect,
    mcnemar_p,
    mean_difference,
    ratio_difference,
)
from ratchet_adapters.evals.gates.policy import GatePolicy, RepeatRule
from ratchet_adapters.evals.gates.repeats import level_of
from ratchet_adapters.evals.gates.verdict import judged_axes
from ratchet_adapters.evals.item import GATED, Axis
from ratchet_adapters.evals.result import EvalResult, ItemResult, SuiteResult
from ratchet_adapters.evals.target import Sampling

ALPHA = 0.05
Kinds = npt.NDArray[np.int64]
Cluster = list[list[float]]


@pytest.fixture(autouse=True, scope="module")
def _no_collections() -> Iterator[None]:
    """statsmodels collects garbage at every correction: 60 ms a decision once a test run has filled the memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *_: 0)
        yield


@pytest.fixture(scope="module")
def measured() -> dict[str, list[Cluster]]:
    text = (Path(__file__).parent / "measured_pair.json").read_text(encoding="utf-8")
    axes: dict[str, list[Cluster]] = json.loads(text)["axes"]
    return axes


def _at_most(nominal: float, runs: int) -> float:
    return nominal + 3 * math.sqrt(nominal * (1 - nominal) / runs)


def _kinds(
    random: np.random.Generator, runs: int, clusters: int, each: int, worse: float, better: float, correlation: float
) -> Kinds:
    """1 where an item got worse, -1 where better, else 0; shape (runs, clusters * each).

    Items of a cluster copy one common draw with probability sqrt(correlation), which is then their correlation.
    """
    chances = [worse, better, 1 - worse - better]
    own = random.choice([1, -1, 0], size=(runs, clusters, each), p=chances)
    common = random.choice([1, -1, 0], size=(runs, clusters, 1), p=chances)
    copies = random.random((runs, clusters, each)) < math.sqrt(correlation)
    return np.where(copies, common, own).reshape(runs, clusters * each)


def _names(clusters: int, each: int) -> list[str]:
    return [str(number // each) for number in range(clusters * each)]


def _share_p(kinds: Kinds, names: list[str], margin: float, assumed: float) -> float:
    effect = design_effect(names, assumed)
    worse, better = (kinds == 1).tolist(), (kinds == -1).tolist()
    found = binary_difference(worse, better, alpha=ALPHA, power=0.8, effect=effect, margin=margin)
    return share_p(worse, better, names, margin, found.p_value or 0.0)


@pytest.mark.parametrize(
    ("clusters", "each", "margin", "differ", "correlation", "assumed"),
    [
        (20, 12, 0.20, 0.26, 0.0, 0.05),
        (20, 12, 0.20, 0.26, 0.05, 0.05),
        (34, 5, 0.06, 0.08, 0.05, 0.05),
        (20, 12, 0.10, 0.12, 0.05, 0.05),
        (350, 1, 0.05, 0.08, 0.0, 0.05),
        (20, 12, 0.20, 0.26, 0.3, 0.3),
    ],
)
def test_a_candidate_at_the_margin_of_a_share_passes_no_oftener_than_promised(
    clusters: int, each: int, margin: float, differ: float, correlation: float, assumed: float
) -> None:
    runs, names = 2000, _names(clusters, each)
    worse = (differ + margin) / 2
    drawn = _kinds(np.random.default_rng(1), runs, clusters, each, worse, differ - worse, correlation)
    passed = sum(_share_p(kinds, names, margin, assumed) <= ALPHA for kinds in drawn)
    assert passed / runs <= _at_most(ALPHA, runs)


@pytest.mark.parametrize(
    ("clusters", "each", "margin", "worse", "better"),
    [(20, 12, 0.20, 0.10, 0.02), (34, 5, 0.06, 0.01, 0.01), (20, 12, 0.10, 0.02, 0.02)],
)
def test_a_candidate_well_within_the_margin_is_seldom_rejected(
    clusters: int, each: int, margin: float, worse: float, better: float
) -> None:
    runs, names = 1500, _names(clusters, each)
    drawn = _kinds(np.random.default_rng(2), runs, clusters, each, worse, better, 0.05)
    rejected = sum(_share_p(kinds, names, margin, 0.05) > ALPHA for kinds in drawn)
    assert rejected / runs <= _at_most(1 - GatePolicy().power, runs)


def test_clusters_that_move_together_fool_the_plain_test_of_improvement_but_not_the_clustered_one() -> None:
    runs, names = 2000, _names(20, 11)
    plain = clustered = 0
    for kinds in _kinds(np.random.default_rng(3), runs, 20, 11, 0.1, 0.1, 0.3):
        won, lost = (kinds == -1).tolist(), (kinds == 1).tolist()
        alone = mcnemar_p(sum(won), sum(lost))
        plain += alone <= ALPHA
        clustered += share_p(lost, won, names, 0.0, alone) <= ALPHA
    assert plain / runs > 2 * ALPHA
    assert clustered / runs <= _at_most(ALPHA, runs)


@pytest.mark.parametrize(("gain", "needed"), [(0.10, 0.75), (0.20, 0.99)])
def test_a_real_improvement_is_seldom_missed(gain: float, needed: float) -> None:
    runs, names, found = 1500, _names(20, 11), 0
    for kinds in _kinds(np.random.default_rng(4), runs, 20, 11, 0.03, 0.03 + gain, 0.05):
        won, lost = (kinds == -1).tolist(), (kinds == 1).tolist()
        found += share_p(lost, won, names, 0.0, mcnemar_p(sum(won), sum(lost))) <= ALPHA
    assert found / runs >= needed


@pytest.mark.parametrize(("clusters", "each", "margin"), [(20, 23, 0.01), (14, 5, 0.03)])
def test_a_mean_at_the_margin_passes_no_oftener_than_promised(clusters: int, each: int, margin: float) -> None:
    random, runs, names, passed = np.random.default_rng(5), 1500, _names(clusters, each), 0
    for _ in range(runs):
        shared = np.repeat(random.normal(0, 0.02, clusters), each)
        noise = shared + random.standard_t(5, clusters * each) * 0.04
        if margin == 0.01:
            found = mean_difference(
                list(margin + noise), [0.0] * len(names), names, alpha=ALPHA, power=0.8, margin=margin
            )
        else:
            base = random.uniform(100, 400, clusters * each)
            worse = list(base * (1 + margin + noise))
            found = ratio_difference(worse, list(base), names, alpha=ALPHA, power=0.8, margin=margin)
        assert found.p_value is not None and (found.p_value <= ALPHA) == (found.upper <= margin)
        passed += found.p_value <= ALPHA
    assert 0.02 <= passed / runs <= _at_most(ALPHA, runs)


def test_however_many_axes_are_at_their_margin_one_of_them_seldom_passes() -> None:
    random, runs = np.random.default_rng(6), 2000
    wrong = uncorrected = 0
    for values in random.random((runs, 5)):
        # Three axes exactly at their margin, two far from it.
        values[3:] *= 1e-4
        findings: dict[str, Finding | str] = {
            str(number): Finding("any", 0.1, 0.1, Difference(0, 0, 0, 0, 0, 0, p), 0.1, p, 0.05, ALPHA, 200)
            for number, p in enumerate(values.tolist())
        }
        wrong += any(axis.outcome == "PASS" for axis in judged_axes(findings, GatePolicy(), 0)[:3])
        plain = judged_axes(findings, GatePolicy(correction="none"), 0)
        uncorrected += any(axis.outcome == "PASS" for axis in plain[:3])
    assert wrong / runs <= _at_most(ALPHA, runs)
    assert uncorrected / runs > 2 * ALPHA


def test_many_candidates_on_the_same_items_stay_within_the_budget() -> None:
    random, runs, tries, rule = np.random.default_rng(7), 1000, 10, RepeatRule()
    within = unlimited = 0
    for _ in range(runs):
        champion = random.random(220) < 0.5
        values = []
        for _ in range(tries):
            candidate = np.where(random.random(220) < 0.3, random.random(220) < 0.5, champion)
            values.append(mcnemar_p(int((candidate & ~champion).sum()), int((champion & ~candidate).sum())))
        within += any(p <= level_of(ALPHA, rule, earlier) for earlier, p in enumerate(values))
        unlimited += any(p <= ALPHA for p in values)
    assert within / runs <= _at_most(rule.budget, runs)
    assert unlimited / runs > rule.budget


@pytest.mark.parametrize(("axis", "sign"), [("over_refusal", 1), ("cloze", -1)])
def test_measured_outcomes_resampled_at_the_margin_pass_no_oftener_than_promised(
    axis: str, sign: int, measured: dict[str, list[Cluster]]
) -> None:
    random, runs = np.random.default_rng(8), 3000
    kinds = [np.array([sign * (row[1] - row[0]) for row in cluster], dtype=np.int64) for cluster in measured[axis]]
    margin = float(np.concatenate(kinds).mean())
    assert margin > 0, "the measured candidate is worse here"
    names = [str(number) for number, cluster in enumerate(kinds) for _ in cluster]
    passed = 0
    for chosen in random.integers(0, len(kinds), (runs, len(kinds))):
        passed += _share_p(np.concatenate([kinds[number] for number in chosen]), names, margin, 0.05) <= ALPHA
    assert passed / runs <= _at_most(ALPHA, runs)


def _evaluation(
    measured: dict[str, list[Cluster]], chosen: dict[Axis, Any], swapped: dict[Axis, Any], side: int
) -> EvalResult:
    """One side of the measured pair with clusters drawn again and, where swapped, the two sides exchanged."""
    suites = []
    for axis in GATED:
        items = []
        for place, (number, swap) in enumerate(zip(chosen[axis], swapped[axis], strict=True)):
            for at, row in enumerate(measured[axis][number]):
                value = float(row[1 - side if swap else side])
                babble = axis is Axis.OVER_REFUSAL and row[2 + (1 - side if swap else side)]
                weight = float(row[2]) if axis is Axis.NLL else 1.0
                label = "incoherent" if babble else "judged"
                items.append(ItemResult(f"{place}-{at}", "", str(place), "", "", label, value, weight))
        suites.append(SuiteResult(axis.value, "v", axis, "j", Sampling(64), tuple(items)))
    return EvalResult(str(side), tuple(suites), "2026-01-01T00:00:00+00:00")


def _drawn(
    measured: dict[str, list[Cluster]], random: np.random.Generator, swap: float
) -> tuple[EvalResult, EvalResult]:
    chosen = {axis: random.integers(0, len(measured[axis]), len(measured[axis])) for axis in GATED}
    swapped = {axis: random.random(len(measured[axis])) < swap for axis in GATED}
    return _evaluation(measured, chosen, swapped, 1), _evaluation(measured, chosen, swapped, 0)


def test_the_measured_candidate_passes_and_so_do_nearly_all_like_it(measured: dict[str, list[Cluster]]) -> None:
    random, runs = np.random.default_rng(9), 120
    reports = [decide(*_drawn(measured, random, swap=0.0)) for _ in range(runs)]
    assert sum(report.outcome == "PASS" for report in reports) / runs >= GatePolicy().power


def test_measured_candidates_that_are_no_better_are_seldom_promoted(measured: dict[str, list[Cluster]]) -> None:
    random, runs = np.random.default_rng(10), 300
    # Exchanging the two models at random in every cluster makes them equally good.
    reports = [decide(*_drawn(measured, random, swap=0.5)) for _ in range(runs)]
    assert sum(report.axes[0].outcome == "PASS" for report in reports) / runs <= _at_most(ALPHA, runs)
    assert sum(report.outcome == "PASS" for report in reports) / runs <= _at_most(ALPHA, runs)
    worse = [_drawn(measured, random, swap=0.0) for _ in range(30)]
    assert all(decide(champion, candidate).outcome == "FAIL" for candidate, champion in worse)
