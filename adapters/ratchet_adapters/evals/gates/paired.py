"""Paired statistics: how far a candidate is from a champion on the same items, and how sure that is.

It must not know axes, thresholds or what is good: positive is simply "the first minus the second".
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

__all__ = ["Difference", "binary_difference", "design_effect", "mcnemar_p", "mean_difference", "ratio_difference"]

_FARTHEST = 37.0
"""Standard errors beyond which a p-value is no more than rounding."""


@dataclass(frozen=True)
class Difference:
    """A paired difference with its uncertainty.

    Attributes:
        estimate: First minus second (relative for `ratio_difference`).
        low: Lower end of the two-sided 1 - alpha interval.
        high: Upper end of it.
        lower: One-sided lower bound at level alpha.
        upper: One-sided upper bound at level alpha.
        detectable: Smallest difference that a test at alpha would find with the given power on data like these.
        p_value: One-sided p that the difference is below the margin; None when no margin was given. At most alpha
            exactly when `upper` is at most the margin.
    """

    estimate: float
    low: float
    high: float
    lower: float
    upper: float
    detectable: float
    p_value: float | None = None

    def mirrored(self) -> Difference:
        """Return the difference of second minus first; `p_value` still belongs to the claim it was made for."""
        return replace(
            self, estimate=-self.estimate, low=-self.high, high=-self.low, lower=-self.upper, upper=-self.lower
        )


def mcnemar_p(wins: int, losses: int) -> float:
    """Return the exact one-sided p-value that the first beats the second (McNemar 1947, Psychometrika 12:153).

    Under the null each discordant pair is a fair coin: p = P(X >= wins), X ~ Binomial(wins + losses, 1/2). It can only
    grow when a win is taken away or a loss is added.

    Args:
        wins: Items that only the first got.
        losses: Items that only the second got.
    """
    if wins + losses == 0:
        return 1.0
    return float(_stats().binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue)


def design_effect(clusters: Sequence[Hashable], correlation: float) -> float:
    """Return by how much clustering inflates a variance: 1 + (m - 1) * correlation (Kish 1965, Survey Sampling).

    m is the mean cluster size seen by an item, sum(m_g^2) / n, which allows for unequal sizes.
    """
    sizes: dict[Hashable, int] = {}
    for cluster in clusters:
        sizes[cluster] = sizes.get(cluster, 0) + 1
    seen = sum(size * size for size in sizes.values()) / len(clusters)
    return 1.0 + (seen - 1.0) * correlation


def binary_difference(
    first: Sequence[bool],
    second: Sequence[bool],
    *,
    alpha: float,
    power: float,
    effect: float = 1.0,
    margin: float | None = None,
) -> Difference:
    """Return the difference of two paired proportions.

    With g = share of items only the first has and l = share only the second has, the difference is g - l. Its limits
    join the Wilson (1927) limits of g and of l by the square-and-add rule of Newcombe (1998, Stat. Med. 17:873; Zou
    and Donner 2008, Stat. Med. 27:1693):

        upper = g - l + sqrt((U(g) - g)^2 + (l - L(l))^2)
        lower = g - l - sqrt((g - L(g))^2 + (U(l) - l)^2)

    on n / effect items. The limits are never degenerate (no discordant pair still gives a positive width), and both
    are monotone in every single item: turning one item of the first from 0 to 1 never lowers either. An interval that
    estimates its variance from the data, such as Wald's, does not have that property, and a gate needs it: making a
    candidate worse must never let it through. The price is that clustering enters through an assumed correlation.

    detectable = (z_{1-alpha} + z_{power}) * sqrt(d / (n / effect)), with d the discordant share, shrunk by one pair
    each way so that a set with no discordant pair is not taken for one without noise.

    Args:
        first: Outcomes of the first, by item.
        second: Outcomes of the second, for the same items.
        alpha: Level.
        power: For `detectable`.
        effect: Design effect of clustering; see `design_effect`.
        margin: For `p_value`.
    """
    n = len(first)
    if n == 0 or n != len(second):
        raise ValueError("Paired proportions need the same items, and at least one.")
    gained = sum(a and not b for a, b in zip(first, second, strict=True)) / n
    lost = sum(b and not a for a, b in zip(first, second, strict=True)) / n
    effective = n / effect
    estimate = gained - lost

    def limits(level: float) -> tuple[float, float]:
        gained_low, gained_high = _wilson(gained, effective, level)
        lost_low, lost_high = _wilson(lost, effective, level)
        return (
            max(-1.0, estimate - math.hypot(gained - gained_low, lost_high - lost)),
            min(1.0, estimate + math.hypot(gained_high - gained, lost - lost_low)),
        )

    low, high = limits(alpha / 2)
    lower, upper = limits(alpha)
    discordant = ((gained + lost) * n + 2) / (n + 2)
    detectable = _reach(alpha, power) * math.sqrt(min(1.0, discordant) / effective)
    p_value = None if margin is None else _proportion_p(gained, lost, effective, margin)
    return Difference(estimate, low, high, lower, upper, detectable, p_value)


def mean_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    alpha: float,
    power: float,
    margin: float | None = None,
) -> Difference:
    """Return the mean of paired differences with a cluster-robust interval.

    estimate = mean(d), d_i = first_i - second_i; its standard error is the cluster-robust one (Liang and Zeger 1986,
    with the usual small-sample factor; Miller 2024, arXiv:2411.00640 for evaluations), the limits use Student's t with
    (clusters - 1) degrees of freedom. With a single cluster nothing is known: the limits are infinite.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    estimate = math.fsum(differences) / len(differences)
    return _from_error(estimate, _cluster_error(differences, clusters), len(set(clusters)), alpha, power, margin)


def ratio_difference(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    alpha: float,
    power: float,
    margin: float | None = None,
) -> Difference:
    """Return the relative difference of two paired totals, sum(first) / sum(second) - 1, second > 0.

    The ratio estimator and its linearised error (Cochran 1977, Sampling Techniques, ch. 6): with R the ratio and
    e_i = first_i - R * second_i, SE(R) = SE_cluster(mean e) / mean(second). Long passages weigh more, as they do in
    nats per token.
    """
    ratio = math.fsum(first) / math.fsum(second)
    residuals = [a - ratio * b for a, b in zip(first, second, strict=True)]
    error = _cluster_error(residuals, clusters) / (math.fsum(second) / len(second))
    return _from_error(ratio - 1.0, error, len(set(clusters)), alpha, power, margin)


def _cluster_error(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    groups = {cluster: number for number, cluster in enumerate(dict.fromkeys(clusters))}
    if len(groups) < 2:
        return math.inf
    if len(set(values)) == 1:
        return 0.0
    models: Any = importlib.import_module("statsmodels.regression.linear_model")
    labels = [groups[cluster] for cluster in clusters]
    fit = models.OLS(list(values), [1.0] * len(values)).fit(cov_type="cluster", cov_kwds={"groups": labels})
    return float(fit.bse[0])


def _from_error(
    estimate: float, error: float, clusters: int, alpha: float, power: float, margin: float | None
) -> Difference:
    if not math.isfinite(error):
        return Difference(estimate, -math.inf, math.inf, -math.inf, math.inf, math.inf, None if margin is None else 1.0)
    student = _stats().t(clusters - 1)
    wide = float(student.ppf(1 - alpha / 2)) * error
    narrow = float(student.ppf(1 - alpha)) * error
    p_value = None
    if margin is not None:
        room = margin - estimate
        # Without any noise there is nothing to divide by: the difference is what it is.
        p_value = float(student.sf(room / error)) if error > 0 else float(room < 0)
    reach = _reach(alpha, power) * error
    return Difference(estimate, estimate - wide, estimate + wide, estimate - narrow, estimate + narrow, reach, p_value)


def _proportion_p(gained: float, lost: float, n: float, margin: float) -> float:
    """Return the level at which the upper limit of `binary_difference` meets the margin; 1 from the margin on."""
    room = margin - (gained - lost)

    def beyond(z: float) -> float:
        return math.hypot(_wilson_at(gained, n, z)[1] - gained, lost - _wilson_at(lost, n, z)[0]) - room

    if beyond(0.0) >= 0:
        return 1.0
    if beyond(_FARTHEST) <= 0:
        return 0.0
    root: Any = importlib.import_module("scipy.optimize")
    return float(_stats().norm.sf(root.brentq(beyond, 0.0, _FARTHEST, xtol=1e-9)))


def _wilson(share: float, n: float, alpha: float) -> tuple[float, float]:
    return _wilson_at(share, n, NormalDist().inv_cdf(1 - alpha))


def _wilson_at(share: float, n: float, z: float) -> tuple[float, float]:
    # Written out because the effective number of items is no integer. Wilson 1927, J. Am. Stat. Assoc. 22:209.
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def _reach(alpha: float, power: float) -> float:
    return NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)


def _stats() -> Any:
    # Untyped, and slow to import for everyone who only reads policies or reports.
    return importlib.import_module("scipy.stats")
