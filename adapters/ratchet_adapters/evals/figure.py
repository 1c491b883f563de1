"""A measured number with its interval, and the two ways intervals are made here.

It must not know what is measured.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratchet_adapters.evals.measure_errors import NothingToMeasure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CONFIDENCE", "RESAMPLES", "Figure", "mean", "resampled", "share"]

CONFIDENCE = 0.95
RESAMPLES = 2000

Sums = Mapping[str, "npt.NDArray[np.float64]"]


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        value: The estimate.
        low: Lower end of the two-sided 95 % interval.
        high: Upper end of it.
        n: Items behind it.
        p_value: Of the measurement's own test, where it has one.
    """

    value: float
    low: float
    high: float
    n: int
    p_value: float | None = None


def share(what: str, hits: Sequence[float]) -> Figure:
    """Return the share of independent items that hit, with Wilson's (1927) interval.

    Args:
        what: Name of the figure, for errors.
        hits: 0 or 1 by item; 0.5 for an item that is neither.

    Raises:
        NothingToMeasure: There is no item.
    """
    if not hits:
        raise NothingToMeasure(what, "there is no item")
    proportions: Any = importlib.import_module("statsmodels.stats.proportion")
    total = math.fsum(hits)
    low, high = proportions.proportion_confint(total, len(hits), alpha=1 - CONFIDENCE, method="wilson")
    return Figure(total / len(hits), max(0.0, float(low)), min(1.0, float(high)), len(hits))


def mean(what: str, values: Sequence[float], clusters: Sequence[Hashable], *, seed: int) -> Figure:
    """Return the mean over items with a cluster bootstrap interval; see `resampled`."""
    columns = {"sum": list(values), "count": [1.0] * len(values)}
    return resampled(what, lambda sums: sums["sum"] / sums["count"], columns, clusters, seed=seed)


def resampled(
    what: str,
    statistic: Callable[[Sums], Any],
    columns: Mapping[str, Sequence[float]],
    clusters: Sequence[Hashable],
    *,
    seed: int,
) -> Figure:
    """Return a function of column sums with a percentile bootstrap interval over whole clusters.

    Items of one cluster (one template, one question) are not independent, so clusters are drawn, not items (Davison
    and Hinkley 1997, Bootstrap Methods, 3.8).

    Args:
        what: Name of the figure, for errors.
        statistic: From column name to sums, each an array over resamples, to an array of the same shape.
        columns: One number per item and column.
        clusters: The cluster of each item.
        seed: Of the resampling.

    Raises:
        NothingToMeasure: There are fewer than two clusters, or the statistic of all items is no number.
    """
    np: Any = importlib.import_module("numpy")
    stats: Any = importlib.import_module("scipy.stats")
    if not clusters:
        raise NothingToMeasure(what, "there is no item")
    order = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    if len(order) < 2:
        raise NothingToMeasure(what, "all items are of one cluster, which says nothing about others")
    rows = np.fromiter((order[cluster] for cluster in clusters), dtype=np.intp, count=len(clusters))
    by_cluster = [np.bincount(rows, weights=np.asarray(column, dtype=float)) for column in columns.values()]
    value = float(statistic({name: total.sum() for name, total in zip(columns, by_cluster, strict=True)}))
    if not math.isfinite(value):
        raise NothingToMeasure(what, "its value on these items is no number")

    def of_sums(*totals: Any, axis: int) -> Any:
        return statistic({name: total.sum(axis=axis) for name, total in zip(columns, totals, strict=True)})

    found = stats.bootstrap(
        by_cluster, of_sums, paired=True, vectorized=True, method="percentile", n_resamples=RESAMPLES, batch=200,
        confidence_level=CONFIDENCE, rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Figure(value, float(found.low), float(found.high), len(clusters))
