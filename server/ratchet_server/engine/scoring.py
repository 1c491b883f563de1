"""How much scoring may be in the engine at once, so that evaluation never gets in the way of traffic.

It must not know vLLM. A prefill cannot be pre-empted within a step, so what bounds the stall of a running stream is
the number of prompt tokens under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

__all__ = ["TokenBudget"]


class TokenBudget:
    """A semaphore over tokens, first come first served, with a limit that may change."""

    def __init__(self, limit: Callable[[], int]) -> None:
        """Create a budget.

        Args:
            limit: Most tokens at once, asked anew at every decision. One item that is larger goes alone.
        """
        self._limit = limit
        self._used = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        """Items waiting for their turn."""
        return len(self._queue)

    @asynccontextmanager
    async def spend(self, tokens: int) -> AsyncIterator[None]:
        """Hold `tokens` of the budget for the duration of the block, after waiting for them."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (tokens, turn)
        self._queue.append(entry)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._used -= tokens
            elif entry in self._queue:
                self._queue.remove(entry)
            self._admit()
            raise
        try:
            yield
        finally:
            self._used -= tokens
            self._admit()

    def _admit(self) -> None:
        while self._queue:
            tokens, turn = self._queue[0]
            if turn.cancelled():
                self._queue.popleft()
                continue
            if self._used and self._used + tokens > self._limit():
                return
            self._queue.popleft()
            self._used += tokens
            turn.set_result(None)
