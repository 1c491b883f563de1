"""Which rows are trained on at which step, or part of one, fixed before training begins.

A resumed job then sees exactly the batches it has not seen. It must not know tokens beyond their number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ratchet_adapters.training.sft_refusal import SftSettings

__all__ = ["Batch", "Share", "schedule", "shares"]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step: numbers of rows, and the number of the anchor text (-1 for none)."""

    rows: tuple[int, ...]
    anchor: int = -1


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker computes of a batch.

    Attributes:
        rows: Numbers of its own rows; may be empty.
        whole: Numbers of the rows of the whole batch: the loss is a mean over all of them.
        anchor: Number of the anchor text, or -1: one worker has it.
        of: Number of shares the batch was divided into.
    """

    rows: tuple[int, ...]
    whole: tuple[int, ...]
    anchor: int
    of: int


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


def shares(batches: Sequence[Batch], workers: int) -> list[Share]:
    """Divide each batch among the workers; the share of worker w of batch b is at place b * workers + w.

    Together the shares hold each row of the batch once. The first worker has the anchor text, and never more rows than
    another one.
    """
    return [
        Share(batch.rows[workers - 1 - worker :: workers], batch.rows, -1 if worker else batch.anchor, workers)
        for batch in batches
        for worker in range(workers)
    ]
