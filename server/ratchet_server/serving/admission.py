"""How many requests are on their way at once, who waits, in which order, and who is turned away.

Must not know what a request is. The model's calls of rails hold no seat of their own: they belong to a request that
has one, and the engine puts them behind interactive requests and before batch ones.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import BaseModel, Field

__all__ = ["Admission", "AdmissionSettings", "Overloaded"]

_SHORTEST, _LONGEST = 0.2, 30.0


class AdmissionSettings(BaseModel, extra="forbid"):
    """The queue before the engine."""

    max_running: int | None = Field(None, ge=1)
    """Requests on their way at once; None: twice the engine's `max_num_seqs`."""

    max_queued: int = Field(256, ge=0)
    """Requests that may wait; over it the least urgent one is turned away with RESOURCE_EXHAUSTED."""


class Overloaded(Exception):
    """The queue is full of requests at least as urgent.

    Attributes:
        retry_after: Seconds after which a seat is likely.
    """

    def __init__(self, queued: int, retry_after: float) -> None:
        super().__init__(f"{queued} requests are waiting; try again in {retry_after:.1f} s")
        self.queued = queued
        self.retry_after = retry_after


class Admission:
    """One per server; belongs to one event loop.

    Attributes:
        running: Seats taken.
    """

    def __init__(self, max_running: int, max_queued: int) -> None:
        self._max_running = max_running
        self._max_queued = max_queued
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._seconds = 1.0
        self.running = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for a seat."""
        return len(self._waiting)

    @asynccontextmanager
    async def seat(self, priority: int) -> AsyncIterator[None]:
        """Wait for a seat and hold it; lower priorities first, then first come, first served.

        Raises:
            Overloaded: The queue is full, or became full of more urgent requests.
        """
        await self._wait(priority)
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds += 0.1 * (time.monotonic() - began - self._seconds)
            self._release()

    async def _wait(self, priority: int) -> None:
        if self.running < self._max_running:
            self.running += 1
            return
        entry = (priority, next(self._order), asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiting, entry)
        if len(self._waiting) > self._max_queued:
            self._turn_away(max(self._waiting, key=lambda waiting: waiting[:2]))
        try:
            await entry[2]
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._remove(entry)
            elif not entry[2].cancelled() and entry[2].exception() is None:
                # It was given the seat at the moment its caller left.
                self._release()
            raise

    def _turn_away(self, entry: tuple[int, int, asyncio.Future[None]]) -> None:
        self._remove(entry)
        rounds = (len(self._waiting) + 1) / self._max_running
        entry[2].set_exception(Overloaded(len(self._waiting), min(_LONGEST, max(_SHORTEST, rounds * self._seconds))))

    def _remove(self, entry: tuple[int, int, asyncio.Future[None]]) -> None:
        self._waiting.remove(entry)
        heapq.heapify(self._waiting)

    def _release(self) -> None:
        while self._waiting:
            _, _, waiter = heapq.heappop(self._waiting)
            if not waiter.done():
                waiter.set_result(None)
                return
        self.running -= 1
