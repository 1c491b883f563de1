"""What a set of items can show, computed before anything is compared.

It must not see an outcome: only the number of items, their clusters and the policy's assumptions.
"""

from __future__ import annotations

import importlib
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any

from ratchet_adapters.evals.gates.paired import design_effect

__all__ = ["detectable_difference"]


def detectable_difference(
    clusters: Sequence[Hashable], *, deviation: float, correlation: float, alpha: float, power: float
) -> float:
    """Return the minimum detectable effect: the smallest difference a one-sided test would find with this power.

    By the normal approximation for a mean of paired differences (statsmodels' NormalIndPower for one sample) on
    n / (design effect) items. For non-inferiority it is the distance from the margin at which a candidate that is no
    worse than the champion passes with this power; so a margin below it asks the set for more than it can tell.

    Args:
        clusters: Of the items, one entry per item.
        deviation: Standard deviation of a paired difference; for yes and no the square root of the share of items on
            which two adapters differ.
        correlation: Of the differences within a cluster.
        alpha: Level, one-sided.
        power: Chance of finding it.
    """
    effective = len(clusters) / design_effect(clusters, correlation)
    return deviation * _standard_effect(round(effective, 6), alpha, power)


@lru_cache(maxsize=1024)
def _standard_effect(items: float, alpha: float, power: float) -> float:
    tests: Any = importlib.import_module("statsmodels.stats.power")
    found = tests.NormalIndPower().solve_power(
        effect_size=None, nobs1=items, alpha=alpha, power=power, ratio=0, alternative="larger"
    )
    return float(found)
