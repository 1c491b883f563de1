"""Which rows of a batch belong to which adapter slot.

It must not know what is computed on the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Segment", "segments"]


@dataclass(frozen=True, slots=True)
class Segment:
    """The rows of one adapter.

    Attributes:
        slot: Index into the stacked adapter weights, >= 0.
        rows: A slice when the rows are contiguous, else their indices, int64 [n].
        count: Number of rows.
    """

    slot: int
    rows: slice | torch.Tensor
    count: int


def segments(slots: Sequence[int]) -> tuple[Segment, ...]:
    """Group the rows of a batch by adapter slot.

    Args:
        slots: Slot of each row; negative for a row without an adapter.

    Returns:
        One segment per slot that occurs, in order of first occurrence. Rows without an adapter are in none of them:
        they keep the base model's output untouched.
    """
    import torch

    runs: dict[int, list[tuple[int, int]]] = {}
    start, total = 0, len(slots)
    while start < total:
        end = start + 1
        while end < total and slots[end] == slots[start]:
            end += 1
        if slots[start] >= 0:
            runs.setdefault(slots[start], []).append((start, end))
        start = end
    found = []
    for slot, spans in runs.items():
        several = len(spans) > 1
        rows = torch.cat([torch.arange(*span) for span in spans]) if several else slice(*spans[0])
        found.append(Segment(slot, rows, sum(last - first for first, last in spans)))
    return tuple(found)
