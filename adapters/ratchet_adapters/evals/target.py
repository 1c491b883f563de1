"""The port through which a model under evaluation is asked and scored.

It must not know how the model is reached nor what the answers are for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

__all__ = ["BASE", "EvalTarget", "LogProb", "Sampling", "digest_of"]

BASE = "base"


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; part of what identifies a measurement."""

    max_tokens: int
    temperature: float = 0.0


@dataclass(frozen=True)
class LogProb:
    """Log-probability of one continuation.

    Attributes:
        log_prob: Sum over the continuation's tokens, in nats; at most 0.
        tokens: How many tokens the continuation has.
        worst_gap: Largest distance, over its tokens, to the likeliest token, in nats: about 0 for what greedy decoding
            would write. Infinite where the source does not tell. No part of equality.
    """

    log_prob: float
    tokens: int
    worst_gap: float = field(default=math.inf, compare=False)


@runtime_checkable
class EvalTarget(Protocol):
    """A model that answers greedily with no rails around it.

    `adapter` is an adapter's digest, or "" or "base" for the model alone. Every implementation bounds its own
    concurrency, keeps the order of its input, and raises rather than leaving a gap:
    `TargetUnavailable` when nothing can be measured now, `TargetRefused` when these requests cannot be answered,
    `AttributionError` when another adapter answered.
    """

    async def generate(self, prompts: Sequence[str], *, adapter: str, max_tokens: int) -> list[str]:
        """Answer each prompt as a single user message."""
        ...

    async def score(self, items: Sequence[tuple[str, str]], *, adapter: str) -> list[LogProb]:
        """Score each (context, continuation)."""
        ...


def digest_of(adapter: str) -> str:
    """Return the digest an answer's receipt must carry when `adapter` is asked for: "" for the model alone."""
    return "" if adapter == BASE else adapter
