"""Rows to one batch of tensors: several rows per sequence, behind the prefix they all share.

The system message is a third of a short row. Computed once per sequence instead of once per row, and with rows of
different lengths filling sequences up, a step costs a third less. Each row sees the prefix and itself, at the
positions it has when it stands alone, so the result is the same. It must not know the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ratchet_adapters.training.trainers.encoding import Encoded

__all__ = ["Packed", "pack"]

_ROUND = 32
_ANCHOR = 1 << 20
"""Segment number of the anchor: it stands alone and does not see the prefix."""


@dataclass(frozen=True)
class Packed:
    """One step's tensors.

    Attributes:
        input_ids: (sequences, length), int64.
        position_ids: (sequences, length), int64.
        mask: (sequences, 1, length, length), bool: what may be seen.
        sources: (n,), int64: flat positions whose next token is taught.
        targets: (n,), int64: those tokens.
        weights: (n,), float32: weight of each in the loss; 0 for filling.
        anchor_ids: (1, k), int64: the anchor text by itself; k is 0 without one.
        anchor_sources: (k,), int64: flat positions of the anchor's tokens in the batch.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    mask: torch.Tensor
    sources: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    anchor_ids: torch.Tensor
    anchor_sources: torch.Tensor


def pack(
    rows: Sequence[Encoded],
    prefix: Sequence[int],
    *,
    per_sequence: int,
    pad: int,
    head_tokens: int,
    tail_weight: float,
    anchor: Sequence[int] = (),
) -> Packed:
    """Return the batch of some rows and at most one anchor text.

    Args:
        rows: Without the prefix.
        prefix: Token ids all rows begin with.
        per_sequence: Rows per sequence, on average.
        pad: Token id for filling; never seen by any other token.
        head_tokens: Completion tokens with weight 1; the others have weight `tail_weight`.
        anchor: Token ids of a plain text.
    """
    bins = _bins(rows, max(1, math.ceil(len(rows) / per_sequence)), len(anchor))
    fill = [sum(map(len, row_bin)) + (0 if line else len(anchor)) for line, row_bin in enumerate(bins)]
    # Few different lengths: the CPU's matrix kernels are built once per shape.
    length = math.ceil((len(prefix) + max(fill)) / _ROUND) * _ROUND
    ids = torch.full((len(bins), length), pad)
    positions = torch.zeros((len(bins), length), dtype=torch.long)
    segments = torch.full((len(bins), length), -1)
    taught: list[tuple[int, int, float]] = []
    for line, row_bin in enumerate(bins):
        start = len(prefix)
        ids[line, :start] = torch.tensor(list(prefix), dtype=torch.long)
        positions[line, :start] = torch.arange(start)
        segments[line, :start] = 0
        for segment, row in enumerate(row_bin, start=1):
            end = start + len(row)
            ids[line, start:end] = torch.tensor([*row.prompt, *row.completion])
            positions[line, start:end] = torch.arange(len(prefix), len(prefix) + len(row))
            segments[line, start:end] = segment
            for i, token in enumerate(row.completion):
                taught.append(
                    (line * length + start + len(row.prompt) - 1 + i, token, 1.0 if i < head_tokens else tail_weight)
                )
            start = end
    own = slice(anchor_start := len(prefix) + sum(map(len, bins[0])), anchor_start + len(anchor))
    ids[0, own] = torch.tensor(list(anchor), dtype=torch.long)
    positions[0, own] = torch.arange(len(anchor))
    segments[0, own] = _ANCHOR
    # A worker whose share has no rows still goes through the step.
    taught += [(0, 0, 0.0)] * (-len(taught) % _ROUND if taught else _ROUND)
    sources, targets, weights = zip(*taught, strict=True)
    return Packed(
        input_ids=ids,
        position_ids=positions,
        mask=_visible(segments),
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
        weights=torch.tensor(weights),
        anchor_ids=torch.tensor([list(anchor)], dtype=torch.long),
        anchor_sources=torch.arange(len(anchor)) + anchor_start,
    )


def _bins(rows: Sequence[Encoded], count: int, anchor: int) -> list[list[Encoded]]:
    """Longest first, each to the sequence that is shortest so far; the first one also holds the anchor text."""
    bins: list[list[Encoded]] = [[] for _ in range(count)]
    filled = [anchor, *[0] * (count - 1)]
    for row in sorted(rows, key=len, reverse=True):
        shortest = filled.index(min(filled))
        bins[shortest].append(row)
        filled[shortest] += len(row)
    return bins


def _visible(segments: torch.Tensor) -> torch.Tensor:
    """A token sees the prefix and its own row, up to itself; filling sees itself, for softmax needs something."""
    length = segments.shape[1]
    same = segments[:, :, None] == segments[:, None, :]
    prefix = (segments == 0)[:, None, :]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    real = (segments >= 0)[:, :, None]
    guest = (segments == _ANCHOR)[:, :, None]
    return (((same | (prefix & ~guest)) & real & causal) | torch.eye(length, dtype=torch.bool))[:, None]
