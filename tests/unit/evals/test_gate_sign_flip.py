"""The exact sign-flip test: against brute force, against McNemar's, in its monotonicity, and on awkward margins."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_adapters.evals.gates.axes import share_p
from ratchet_adapters.evals.gates.paired import binary_difference, mcnemar_p
from ratchet_adapters.evals.gates.sign_flip import flip_p, margin_evidence

_SUMS = st.lists(st.integers(-9, 9), min_size=1, max_size=9)


@given(_SUMS)
def test_it_is_the_share_of_sign_patterns_that_look_at_least_as_good(sums: list[int]) -> None:
    patterns = list(product((-1, 1), repeat=len(sums)))
    flipped = [sum(sign * value for sign, value in zip(signs, sums, strict=True)) for signs in patterns]
    expected = sum(total >= sum(sums) for total in flipped) / len(patterns)
    assert flip_p(sums) == pytest.approx(expected)


@given(st.integers(0, 60), st.integers(0, 60))
def test_without_clusters_it_is_the_exact_test_of_mcnemar(wins: int, losses: int) -> None:
    assert flip_p([1] * wins + [-1] * losses) == pytest.approx(mcnemar_p(wins, losses), rel=1e-9)


@given(_SUMS, st.data())
def test_less_evidence_in_a_cluster_never_lowers_p(sums: list[int], data: st.DataObject) -> None:
    place, less = data.draw(st.integers(0, len(sums) - 1)), data.draw(st.integers(0, 12))
    weaker = [*sums[:place], sums[place] - less, *sums[place + 1 :]]
    assert flip_p(weaker) >= flip_p(sums) - 1e-12


_KINDS = st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.integers(0, 5)), min_size=2, max_size=60)


@given(_KINDS, st.sampled_from([0.0, 0.03, 0.06, 0.2, 1 / 3]), st.data())
def test_worsening_an_item_never_lowers_the_p_value_of_a_share(
    kinds: list[tuple[int, int]], margin: float, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(kinds) - 1))
    worsened = [(1, cluster) if number == place else (kind, cluster) for number, (kind, cluster) in enumerate(kinds)]

    def p_of(items: list[tuple[int, int]]) -> float:
        lost, won = [kind == 1 for kind, _ in items], [kind == -1 for kind, _ in items]
        found = binary_difference(lost, won, alpha=0.05, power=0.8, effect=1.3, margin=margin)
        return share_p(lost, won, [str(cluster) for _, cluster in items], margin, found.p_value or 0.0)

    assert p_of(worsened) >= p_of(kinds) - 1e-9


@given(_KINDS, st.sampled_from([0.01, 0.05, 0.1]), st.sampled_from([0.02, 0.1, 0.4]))
def test_the_p_value_and_the_bound_say_the_same(kinds: list[tuple[int, int]], alpha: float, margin: float) -> None:
    lost, won = [kind == 1 for kind, _ in kinds], [kind == -1 for kind, _ in kinds]
    found = binary_difference(lost, won, alpha=alpha, power=0.8, effect=1.4, margin=margin)
    assert found.p_value is not None
    if abs(found.upper - margin) > 1e-6:
        assert (found.p_value <= alpha) == (found.upper <= margin)


def test_no_evidence_or_one_cluster_proves_nothing() -> None:
    assert flip_p([]) == flip_p([0, 0]) == 1.0
    assert flip_p([1000]) == 0.5
    assert flip_p([3, 4, 5, 6]) == 1 / 16


def test_evidence_counts_items_in_units_of_the_margin() -> None:
    worse, better = [True, False, False, False], [False, False, False, True]
    assert list(margin_evidence(worse, better, ["a", "a", "b", "b"], 0.25)) == [2 - 4, 2 + 4]
    assert list(margin_evidence(worse, better, ["a", "a", "b", "b"], 0.0)) == [-1, 1]


def test_many_items_and_an_odd_margin_stay_fast_and_cautious() -> None:
    random = np.random.default_rng(3)
    clusters = [str(number // 5) for number in range(5000)]
    worse = random.random(5000) < 0.02
    p_value = flip_p(margin_evidence(worse, ~worse & (random.random(5000) < 0.01), clusters, 0.0337))
    assert 0 <= p_value < 1e-6
