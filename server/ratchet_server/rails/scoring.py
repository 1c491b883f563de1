"""The scorers and the text encoder of all profiles, each loaded once and behind one batching thread.

It must not know rails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ratchet_plugins.models.encoder import shared_encoder
from ratchet_plugins.scorers.registry import load_scorer
from ratchet_plugins.scorers.scorer import Scorer
from ratchet_server.rails.batching import Batcher

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["BatchedScorer", "ScorerPool"]

_Row = dict[str, float]


class BatchedScorer:
    """One scorer behind one thread; the limits are those of `Batcher`."""

    def __init__(self, scorer: Scorer, *, max_batch: int = 32, max_waiting: int = 512, remembered: int = 4_096) -> None:
        self.scorer = scorer
        self._batcher: Batcher[_Row] = Batcher(
            scorer.name, scorer.score, max_batch=max_batch, max_waiting=max_waiting, remembered=remembered
        )

    async def score(self, texts: Sequence[str]) -> list[_Row]:
        """Return one dict of label to value per text, in order; raises as `Batcher.run`."""
        return [dict(row) for row in await self._batcher.run(texts)]

    def close(self) -> None:
        """Stop the thread once its batch is done; waiting calls get ScorerStopped."""
        self._batcher.close()


class ScorerPool:
    """The scorers and the encoder of all profiles. Implements the rails' `Scoring` port.

    Args:
        load: Makes the scorer of a name; the registry of the scorers by default.
    """

    def __init__(self, load: Callable[[str], Scorer] = load_scorer) -> None:
        self._load = load
        self._scorers: dict[str, BatchedScorer] = {}
        self._lock = threading.Lock()
        # One pass of the plain encoder serves whoever compares texts by meaning.
        self._encoder: Batcher[npt.NDArray[np.float32]] = Batcher(
            "encoder", lambda texts: list(shared_encoder().encode(texts))
        )

    def scorer(self, name: str) -> Scorer:
        """Return the scorer of that name, loading it at first use. Raises ScorerUnavailable."""
        return self._batched(name).scorer

    async def score(self, name: str, texts: Sequence[str]) -> list[_Row]:
        """Score texts; see `BatchedScorer.score`."""
        return await self._batched(name).score(texts)

    async def encode(self, texts: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        """Return one unit vector [384] of the plain encoder per text; raises as `Batcher.run`, and ModelError."""
        return await self._encoder.run(texts)

    def warm_up(self, name: str) -> None:
        """Load a scorer and let it score once, so that no request pays for it. Raises what the scorer raises."""
        self.scorer(name).score(["warm-up"])

    def close(self) -> None:
        """Stop all threads."""
        with self._lock:
            scorers = list(self._scorers.values())
        for scorer in scorers:
            scorer.close()
        self._encoder.close()

    def _batched(self, name: str) -> BatchedScorer:
        with self._lock:
            if name not in self._scorers:
                self._scorers[name] = BatchedScorer(self._load(name))
            return self._scorers[name]
