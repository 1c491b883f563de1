"""Which rows are trained on at which step, or part of one, fixed before training begins.

A resumed job then sees exactly the batches it has not seen. It must not know tokens beyond their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from ratchet_adapters.training.sft_refusal import SftSettings

__all__ = ["Batch", "schedule"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step: numbers of rows, and the number of the anchor text (-1 for none)."""

    rows: tuple[int, ...]
    anchor: int = -1


def schedule(rows: int, anchors: int, settings: SftSettings) -> list[Batch]:
    """Return the batches of the whole training; `accumulate` of them make a step.

    Every batch is a random mix of all kinds of rows: sorted by length, refusals and answers would come in turns and
    the adapter would swing between refusing and answering.

    Args:
        rows: Number of train rows.
        anchors: Number of anchor texts.
        settings: Seed, batch size, parts per step, epochs, anchor weight.
    """
    rng = Random(settings.seed)
    if not rows:
        return []
    size = settings.batch_size // settings.accumulate
    steps = max(1, math.ceil(math.ceil(rows / size) * settings.epochs))
    batches: list[tuple[int, ...]] = []
    while len(batches) < steps:
        order = list(range(rows))
        rng.shuffle(order)
        batches += [tuple(order[start : start + size]) for start in range(0, rows, size)]
    anchored = anchors > 0 and settings.anchor_weight > 0
    return [Batch(batch, rng.randrange(anchors) if anchored else -1) for batch in batches[:steps]]
