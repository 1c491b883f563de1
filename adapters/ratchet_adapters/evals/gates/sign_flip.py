"""The exact sign-flip test on clusters: whether paired evidence that comes in clusters could be chance.

It must not know axes, margins or what is good: evidence above zero speaks for the claim.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

__all__ = ["flip_p", "margin_evidence"]

_CELLS = 2**18
"""Longest table of sums; beyond it evidence is rounded down, which can only raise p."""

_FINEST = 10_000
"""Largest denominator of a margin: beyond four decimals it is rounded."""


def flip_p(evidence: Sequence[int] | npt.NDArray[np.int64]) -> float:
    """Return the exact one-sided p-value that independent sums of evidence have a mean above zero.

    Under the null every sum is as likely with the opposite sign, whatever goes on inside its cluster, so

        p = P(sum of e_c * u_c >= sum of u_c),  e_c = -1 or 1 by a fair coin
          = P(the sum of u_c over a random subset of the clusters <= 0).

    That is counted exactly, by convolution of whole numbers. With one item per cluster and u = 1 for a win, -1 for a
    loss it is McNemar's exact test. For few clusters and sums that are symmetric only in the limit it is still valid
    in the limit (Canay, Romano and Shaikh 2017, Econometrica 85:1013), where a sandwich variance is not. It never
    falls when any u_c falls, which no test with an estimated variance can promise: the second form shows why.

    Args:
        evidence: Sum of evidence by cluster.
    """
    sums = np.asarray(evidence, dtype=np.int64)
    sums = sums[sums != 0]
    if sums.size == 0:
        return 1.0
    sums = sums // np.gcd.reduce(sums)
    lowest = int(sums[sums < 0].sum())
    chances = np.zeros(int(np.abs(sums).sum()) + 1)
    chances[-lowest] = 1.0
    for value in (int(number) for number in sums):
        moved = np.zeros_like(chances)
        if value > 0:
            moved[value:] = chances[:-value]
        else:
            moved[:value] = chances[-value:]
        chances = (chances + moved) / 2
    return min(1.0, float(chances[: -lowest + 1].sum()))


def margin_evidence(
    worse: Sequence[bool] | npt.NDArray[np.bool_],
    better: Sequence[bool] | npt.NDArray[np.bool_],
    clusters: Sequence[Hashable],
    margin: float,
) -> npt.NDArray[np.int64]:
    """Return, by cluster, the evidence that worse - better stays below a margin: sum of (margin - worse + better).

    Args:
        worse: Items on which the candidate alone is wrong.
        better: Items on which the champion alone is wrong.
        clusters: Of the items.
        margin: Share of items; 0 makes it evidence of superiority.

    Returns:
        Whole numbers, in units of one part of the margin's denominator (all alike, so that only signs and proportions
        matter to `flip_p`).
    """
    numbers = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    places = np.array([numbers[cluster] for cluster in clusters])
    allowed = Fraction(margin).limit_denominator(_FINEST)
    change = np.asarray(better, dtype=np.int64) - np.asarray(worse, dtype=np.int64)
    by_cluster = np.bincount(places, weights=change).astype(np.int64)
    sizes = np.bincount(places).astype(np.int64)
    evidence = sizes * allowed.numerator + by_cluster * allowed.denominator
    # By the number of items alone, never by the outcomes: a coarser grid for some outcomes would not be monotone.
    return evidence // -(-len(places) * (allowed.numerator + allowed.denominator) // _CELLS)
