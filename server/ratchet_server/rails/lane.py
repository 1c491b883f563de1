"""How much of one rail may be under way, and that nothing is while it keeps failing.

A rail whose backend hangs would otherwise hold every request for its whole deadline, and all of them at once. It must
not know what a rail judges nor what a failure leads to. Used from one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

__all__ = ["CircuitOpen", "Lane", "LaneFull"]


class CircuitOpen(Exception):
    """The rail has kept failing and is left alone for a while."""


class LaneFull(Exception):
    """Too many checks wait for the rail."""


class Lane:
    """One per rail of a profile version.

    Args:
        at_once: Checks that may run at the same time; more wait, in order.
        waiting: Checks that may wait.
        break_after: Failures in a row after which the circuit opens.
        open_s: Seconds it stays open; then one check tries, and closes it if the rail answers.
        clock: Seconds from anywhere.
    """

    def __init__(
        self,
        *,
        at_once: int = 64,
        waiting: int = 512,
        break_after: int = 8,
        open_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._may_wait = waiting
        self._waiting = 0
        self._break_after = break_after
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._opened = 0.0
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether checks are refused at present."""
        return self._failures >= self._break_after and (self._trying or self._clock() - self._opened < self._open_s)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place while the rail runs. Waiting for one counts against the caller's deadline.

        Raises:
            CircuitOpen: At once, also for those that waited when it opened.
            LaneFull: At once.
        """
        self._refuse_open()
        if self._places.locked() and self._waiting >= self._may_wait:
            raise LaneFull
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            self._refuse_open()
            trial = self._failures >= self._break_after
            self._trying = self._trying or trial
            try:
                yield
            finally:
                if trial:
                    self._trying = False
        finally:
            self._places.release()

    def answered(self) -> None:
        """Note that the rail gave a verdict."""
        self._failures = 0

    def failed(self) -> None:
        """Note that it did not."""
        self._failures += 1
        if self._failures >= self._break_after:
            self._opened = self._clock()

    def _refuse_open(self) -> None:
        if self.is_open:
            raise CircuitOpen
