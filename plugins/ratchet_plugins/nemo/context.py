"""What a host may tell the rails of this package about the check under way: how to score, and if more text follows.

NeMo injects only its own collaborators into a rail action, so these travel as context variables. A host that sets
none of them (a stock NeMo) gets scorers from the registry, run in a worker thread, and whole texts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from functools import lru_cache
from typing import Protocol

from ratchet_plugins.scorers.registry import load_scorer
from ratchet_plugins.scorers.scorer import Scorer

__all__ = ["PARTIAL", "SCORING", "TURNS", "Scoring", "StandAloneScoring"]


class Scoring(Protocol):
    """Where a rail gets its scores from."""

    def scorer(self, name: str) -> Scorer:
        """Return the scorer of that name, or raise ScorerUnavailable."""
        ...

    async def score(self, name: str, texts: Sequence[str]) -> list[dict[str, float]]:
        """Score texts without blocking the event loop; one dict per text, in order. Raises ScorerError."""
        ...


@lru_cache(maxsize=64)
def _shared(name: str) -> Scorer:
    return load_scorer(name)


class StandAloneScoring:
    """Scorers from the registry, one thread hop per call, no batching."""

    def scorer(self, name: str) -> Scorer:
        """Return the process-wide scorer of that name."""
        return _shared(name)

    async def score(self, name: str, texts: Sequence[str]) -> list[dict[str, float]]:
        """Score texts in a worker thread."""
        return await asyncio.to_thread(lambda: _shared(name).score(texts))


SCORING: ContextVar[Scoring] = ContextVar("ratchet_scoring", default=StandAloneScoring())  # noqa: B039 - it has no state
# What the user has said in all turns, oldest first; the last is the text under judgement. Empty: nobody told.
TURNS: ContextVar[tuple[str, ...]] = ContextVar("ratchet_turns", default=())
# True while the text of an answer is still being generated: what touches its end is not decided yet.
PARTIAL: ContextVar[bool] = ContextVar("ratchet_partial_text", default=False)
