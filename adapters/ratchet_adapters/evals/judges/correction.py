"""From a judged rate to the rate people would have found: Rogan-Gladen, with the calibration's own uncertainty.

It must not know what is judged. Sensitivity and specificity are themselves estimates from a few hundred labelled
answers; an interval that takes them for exact is too short.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

__all__ = ["Confusion", "Corrected", "corrected_rate"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Confusion:
    """How often a judge agreed with labels.

    Attributes:
        hit: Positive by label, called positive.
        missed: Positive by label, called negative.
        right: Negative by label, called negative.
        false: Negative by label, called positive.
    """

    hit: int = 0
    missed: int = 0
    right: int = 0
    false: int = 0

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            self.hit + other.hit, self.missed + other.missed, self.right + other.right, self.false + other.false
        )

    @property
    def positives(self) -> int:
        """Positive by label."""
        return self.hit + self.missed

    @property
    def negatives(self) -> int:
        """Negative by label."""
        return self.right + self.false

    @property
    def sensitivity(self) -> float | None:
        """Share of the positives found; None without positives."""
        return self.hit / self.positives if self.positives else None

    @property
    def specificity(self) -> float | None:
        """Share of the negatives left alone; None without negatives."""
        return self.right / self.negatives if self.negatives else None

    def limits(self) -> dict[str, tuple[float, float] | None]:
        """Return Wilson's (1927) 95 % limits of sensitivity and specificity."""
        return {
            "sensitivity": _wilson(self.hit, self.positives),
            "specificity": _wilson(self.right, self.negatives),
        }


@dataclass(frozen=True)
class Corrected:
    """A rate as judged, and as corrected for the judge.

    Attributes:
        raw: Share the judge called positive.
        raw_low: Wilson's lower 95 % limit of it.
        raw_high: The upper one.
        value: The corrected rate, cut to [0, 1]; None when it is not defined.
        low: Lower 95 % limit of it; None when it is not defined.
        high: The upper one.
        items: Items judged.
        why: Why it is not defined, or what is doubtful about it; "" when nothing is.
    """

    raw: float
    raw_low: float
    raw_high: float
    value: float | None
    low: float | None
    high: float | None
    items: int
    why: str = ""


def corrected_rate(positives: float, items: int, confusion: Confusion, *, effect: float = 1.0) -> Corrected:
    """Return the rate behind a judged one.

    (raw + specificity - 1) / (sensitivity + specificity - 1) (Rogan and Gladen 1978, Am. J. Epidemiol. 107:71). The
    interval is that of Lang and Reiczigel (2014, Prev. Vet. Med. 113:13), whose variance holds the judged sample and
    both calibration samples; each count is first shrunk as Agresti and Coull do, so that a judge that made no mistake
    on few labels is not taken for one that never does.

    Args:
        positives: Items called positive.
        items: Items judged, at least one.
        confusion: Of the judge, against labels.
        effect: Design effect of clustered items: they count for items / effect.

    Raises:
        ValueError: There is no item, or more positives than items.
    """
    if items < 1 or not 0 <= positives <= items or effect < 1:
        raise ValueError(f"{positives} positives of {items} items with design effect {effect} are no rate.")
    raw, size = positives / items, items / effect
    raw_low, raw_high = _wilson(raw * size, size) or (0.0, 1.0)
    sensitivity, specificity = confusion.sensitivity, confusion.specificity
    if sensitivity is None or specificity is None:
        missing = "positive" if sensitivity is None else "negative"
        why = f"the calibration has no {missing} label"
        return Corrected(raw, raw_low, raw_high, None, None, None, items, why)
    informedness = sensitivity + specificity - 1
    if informedness <= 0:
        why = (
            f"the judge tells nothing: sensitivity {sensitivity:.3f} and specificity {specificity:.3f} add up to no "
            "more than 1, so no rate can be derived from its verdicts"
        )
        return Corrected(raw, raw_low, raw_high, None, None, None, items, why)
    value = min(1.0, max(0.0, (raw + specificity - 1) / informedness))
    low, high = _lang_reiczigel(raw, size, confusion)
    limits = confusion.limits()
    least = sum(bound[0] for bound in limits.values() if bound)
    why = "the calibration is too small to tell this judge from chance" if least <= 1 else ""
    # The point is of the plain counts and the interval of the shrunk ones: the point is never left outside.
    return Corrected(raw, raw_low, raw_high, value, min(low, value), max(high, value), items, why)


def _lang_reiczigel(raw: float, size: float, confusion: Confusion) -> tuple[float, float]:
    stats: Any = importlib.import_module("scipy.stats")
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    judged = size + z * z
    rate = (size * raw + z * z / 2) / judged
    of_positives, of_negatives = confusion.positives + 2, confusion.negatives + 2
    sensitivity, specificity = (confusion.hit + 1) / of_positives, (confusion.right + 1) / of_negatives
    informedness = sensitivity + specificity - 1
    if informedness <= 0:
        return 0.0, 1.0
    estimate = (rate + specificity - 1) / informedness
    from_positives = sensitivity * (1 - sensitivity) / of_positives
    from_negatives = specificity * (1 - specificity) / of_negatives
    shift = 2 * z * z * (estimate * from_positives - (1 - estimate) * from_negatives)
    variance = rate * (1 - rate) / judged + estimate**2 * from_positives + (1 - estimate) ** 2 * from_negatives
    reach = z * math.sqrt(variance) / informedness
    return min(1.0, max(0.0, estimate + shift - reach)), min(1.0, max(0.0, estimate + shift + reach))


def _wilson(hits: float, total: float) -> tuple[float, float] | None:
    if not total:
        return None
    proportions: Any = importlib.import_module("statsmodels.stats.proportion")
    low, high = proportions.proportion_confint(hits, total, alpha=1 - CONFIDENCE, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))
