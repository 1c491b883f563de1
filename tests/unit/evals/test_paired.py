"""Paired statistics against known values, against simulation, and in their monotonicity."""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_adapters.evals.gates.paired import (
    _wilson,
    binary_difference,
    design_effect,
    mcnemar_p,
    mean_difference,
    ratio_difference,
)


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (7, 1), (9, 1), (12, 3), (15, 5), (20, 10)])
def test_the_least_wins_known_to_be_significant_are(wins: int, losses: int) -> None:
    assert mcnemar_p(wins, losses) < 0.05
    assert mcnemar_p(wins - 1, losses + 1) >= 0.05


def test_no_discordant_pair_proves_nothing() -> None:
    assert mcnemar_p(0, 0) == 1.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_a_loss_more_or_a_win_less_never_lowers_p(wins: int, losses: int) -> None:
    p = mcnemar_p(wins, losses)
    assert mcnemar_p(wins, losses + 1) >= p
    assert wins == 0 or mcnemar_p(wins - 1, losses) >= p


@pytest.mark.parametrize(("share", "n"), [(0.0, 50), (0.1, 250), (0.5, 30), (1.0, 99)])
def test_wilson_limits_are_those_of_statsmodels(share: float, n: int) -> None:
    proportion: Any = importlib.import_module("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(round(share * n), n, alpha=0.1, method="wilson")
    assert _wilson(share, n, 0.05) == pytest.approx((max(0.0, low), min(1.0, high)), abs=1e-9)


_PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=80)


@given(_PAIRS, st.data())
def test_raising_one_item_never_lowers_a_bound(pairs: list[tuple[bool, bool]], data: st.DataObject) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    place = data.draw(st.integers(0, len(pairs) - 1))
    raised = [*first[:place], True, *first[place + 1 :]]
    before = binary_difference(first, second, alpha=0.05, power=0.8, effect=1.5)
    after = binary_difference(raised, second, alpha=0.05, power=0.8, effect=1.5)
    assert after.upper >= before.upper - 1e-12
    assert after.lower >= before.lower - 1e-12


@given(_PAIRS)
def test_exchanging_the_two_sides_mirrors_the_interval(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    one = binary_difference(first, second, alpha=0.05, power=0.8)
    two = binary_difference(second, first, alpha=0.05, power=0.8)
    assert (two.estimate, two.low, two.high) == pytest.approx((-one.estimate, -one.high, -one.low))
    assert one.low <= one.lower <= one.estimate <= one.upper <= one.high


@pytest.mark.parametrize(("gain", "loss"), [(0.02, 0.02), (0.05, 0.15), (0.3, 0.1)])
def test_one_sided_limits_of_a_proportion_difference_cover_as_promised(gain: float, loss: float) -> None:
    random = np.random.default_rng(7)
    missed_up = missed_low = 0
    runs = 600
    for _ in range(runs):
        kind = random.choice(3, size=150, p=[gain, loss, 1 - gain - loss])
        found = binary_difference(list(kind == 0), list(kind == 1), alpha=0.05, power=0.8)
        missed_up += found.upper < gain - loss
        missed_low += found.lower > gain - loss
    assert max(missed_up, missed_low) / runs < 0.075


def test_clusters_of_alike_items_widen_the_interval() -> None:
    assert design_effect(["a", "b", "c"], 0.5) == 1.0
    assert design_effect(["a"] * 10, 0.05) == pytest.approx(1.45)
    first, second = [True] * 20 + [False] * 80, [False] * 100
    narrow = binary_difference(first, second, alpha=0.05, power=0.8)
    wide = binary_difference(first, second, alpha=0.05, power=0.8, effect=2.0)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.detectable > narrow.detectable


def test_independent_items_give_the_paired_t_interval() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(1.0, 1.0, 40), random.normal(0.8, 1.0, 40)
    found = mean_difference(list(first), list(second), list(range(40)), alpha=0.05, power=0.8)
    stats: Any = importlib.import_module("scipy.stats")
    interval = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_a_cluster_robust_mean_covers_where_a_naive_one_would_not() -> None:
    random = np.random.default_rng(11)
    clusters = [number // 10 for number in range(150)]
    covered = 0
    for _ in range(200):
        shared = random.normal(0, 1, 15)
        values = [float(shared[cluster] + random.normal(0, 1)) for cluster in clusters]
        found = mean_difference(values, [0.0] * 150, clusters, alpha=0.05, power=0.8)
        covered += found.low <= 0 <= found.high
    assert covered / 200 > 0.9


def test_the_ratio_is_of_the_totals_and_its_interval_holds_it() -> None:
    second = [100.0 + 3 * number for number in range(60)]
    first = [value * (1.01 + 0.002 * (-1) ** number) for number, value in enumerate(second)]
    found = ratio_difference(first, second, [number // 5 for number in range(60)], alpha=0.05, power=0.8)
    assert found.estimate == pytest.approx(sum(first) / sum(second) - 1)
    assert found.low < 0.0101 and found.high > 0.0099
    assert found.high - found.low < 0.002


def test_one_cluster_says_nothing() -> None:
    found = mean_difference([1.0, 2.0], [0.0, 0.0], ["a", "a"], alpha=0.05, power=0.8)
    assert math.isinf(found.upper) and math.isinf(found.detectable)


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_unpaired_or_empty_data_is_refused(first: list[bool], second: list[bool]) -> None:
    with pytest.raises(ValueError, match="same items"):
        binary_difference(first, second, alpha=0.05, power=0.8)
