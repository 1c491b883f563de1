"""Bursts: many flags that say the same, from few people or all at once. They are set aside for somebody to look at.

It must not know what the flags would teach, nor decide who is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.datasets.training_flag import TrainingFlag

__all__ = ["Quarantined", "burst"]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Flags of one near-duplicate cluster that do not train.

    Attributes:
        flag_ids: All of the cluster, sorted.
        principals: How many different ones they come from.
        reason: What made it a burst.
    """

    flag_ids: tuple[str, ...]
    principals: int
    reason: str


def burst(flags: Sequence[TrainingFlag], settings: DatasetSettings) -> Quarantined | None:
    """Return why the flags of one near-duplicate cluster are a burst, or None when they are not.

    A cluster of more than `burst_items` is one when it comes from fewer than `burst_principals` principals, or when
    more than `burst_items` of it were submitted within `burst_window_s`. Flags without a time count for the first only.
    """
    if len(flags) <= settings.burst_items:
        return None
    principals = len({flag.principal for flag in flags})
    within = _most_within(flags, settings.burst_window_s)
    if principals < settings.burst_principals:
        reason = f"{len(flags)} near duplicates from {principals} principals (fewer than {settings.burst_principals})"
    elif within > settings.burst_items:
        reason = f"{within} near duplicates within {settings.burst_window_s:g} s (more than {settings.burst_items})"
    else:
        return None
    return Quarantined(tuple(sorted(flag.id for flag in flags)), principals, reason)


def _most_within(flags: Sequence[TrainingFlag], window_s: float) -> int:
    times = sorted(flag.created_at.timestamp() for flag in flags if flag.created_at is not None)
    most = first = 0
    for last, moment in enumerate(times):
        while moment - times[first] > window_s:
            first += 1
        most = max(most, last - first + 1)
    return most
