"""A model behind an `EvalTarget` as a source of log-probabilities for measurements, which are synchronous.

It must not know what is measured. Targets offer neither next-token distributions, nor sampling, nor embeddings, so
this is a `LogProbs` and nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ratchet_adapters.evals.target import EvalTarget, LogProb

__all__ = ["RemoteScores"]


class RemoteScores:
    """`LogProbs` over a target, for one adapter.

    Make it inside the event loop that the target belongs to and measure in a thread:
    `await asyncio.to_thread(measure, RemoteScores(target, adapter), ["stereotypes"])`.

    Args:
        target: The model.
        adapter: Digest of the adapter; "" or "base" for the model alone.
    """

    def __init__(self, target: EvalTarget, adapter: str) -> None:
        self._target = target
        self._adapter = adapter
        self._loop = asyncio.get_running_loop()

    def log_probs(self, items: Sequence[tuple[str, str]]) -> list[LogProb]:
        """Return the log-probability of each continuation; see `LogProbs`. Raises as `EvalTarget.score` does.

        Raises:
            RuntimeError: It is called in the event loop itself, which would wait for itself for ever.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            raise RuntimeError("A measurement blocks: call it with asyncio.to_thread, not in the event loop.")
        call = self._target.score(list(items), adapter=self._adapter)
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()
