"""Figures and their intervals, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from ratchet_adapters.evals.figure import Figure, mean, resampled, share
from ratchet_adapters.evals.measure_errors import NothingToMeasure


def test_a_share_has_wilsons_interval() -> None:
    # Wilson 1927 for 8 of 10: (0.8 + 0.19208 -+ 0.27668) / 1.38416.
    figure = share("x", [1.0] * 8 + [0.0] * 2)
    assert figure.value == 0.8 and figure.n == 10
    assert (figure.low, figure.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_a_tie_is_half_a_hit() -> None:
    assert share("x", [0.5] * 6).value == 0.5


def test_a_share_of_nothing_is_an_error() -> None:
    with pytest.raises(NothingToMeasure, match="no item"):
        share("x", [])


def test_the_mean_is_over_items_and_its_interval_over_clusters() -> None:
    values = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    by_item = mean("x", values, range(6), seed=0)
    by_cluster = mean("x", values, [0, 0, 0, 1, 1, 1], seed=0)
    assert by_item.value == by_cluster.value == 0.5
    # Two clusters, drawn with replacement: both all 0 and all 1 have chance 1/4.
    assert (by_cluster.low, by_cluster.high) == (0.0, 1.0)
    assert by_item.high < 1.0


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert mean("x", [0.3, 0.3, 0.3], range(3), seed=0) == Figure(pytest.approx(0.3), *[pytest.approx(0.3)] * 2, 3)


def test_the_bootstrap_is_the_same_for_the_same_seed() -> None:
    values = [0.1, 0.5, 0.2, 0.9, 0.4]
    assert mean("x", values, range(5), seed=1) == mean("x", values, range(5), seed=1)


@pytest.mark.parametrize("clusters", [[], ["a", "a"]])
def test_fewer_than_two_clusters_is_an_error(clusters: list[str]) -> None:
    with pytest.raises(NothingToMeasure):
        mean("x", [1.0] * len(clusters), clusters, seed=0)


def test_a_statistic_that_is_no_number_is_an_error() -> None:
    with pytest.raises(NothingToMeasure, match="no number"):
        resampled("x", lambda sums: sums["a"] * float("nan"), {"a": [1.0, 2.0]}, [0, 1], seed=0)
