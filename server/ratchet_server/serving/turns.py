"""Whose turn it is among the answers of evaluations, so that those who are being served hardly notice them.

The engine's priorities order its queue, but what is in its batch stays there, and every answer more in the batch makes
each step longer. So evaluations are held back before the engine: few at once beside traffic, many when there is none,
and when traffic begins, the youngest that are too many are aborted in the core and answered again later. It must not
know what is asked, nor who is served.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import insort
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ratchet_server.engine.engine import Chunk, Engine, EngineRequest
from ratchet_server.engine.errors import DeadlineExceeded
from ratchet_server.serving.settings import EvaluationLimits

__all__ = ["EvaluationTurns"]


@dataclass(slots=True, order=True)
class _Turn:
    """One answer's place: by age, which it keeps when it is set aside, so that every answer has its end."""

    order: int
    given: asyncio.Event = field(default_factory=asyncio.Event, compare=False)
    taken_back: asyncio.Event = field(default_factory=asyncio.Event, compare=False)


class EvaluationTurns:
    """One per server. Belongs to one event loop."""

    def __init__(self, limits: EvaluationLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds, monotonic."""
        self._limits = limits
        self._clock = clock
        self._orders = itertools.count()
        self._running: list[_Turn] = []
        self._waiting: list[_Turn] = []
        self._served = 0
        self._quiet_from = -1.0
        self._look: asyncio.TimerHandle | None = None
        self.set_aside = 0

    @property
    def running(self) -> int:
        """Answers of evaluations that may be in the engine now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Answers of evaluations that wait for their turn."""
        return len(self._waiting)

    @property
    def limit(self) -> int:
        """How many may be in the engine now."""
        quiet = not self._served and self._clock() >= self._quiet_from
        return self._limits.at_once if quiet else self._limits.beside_traffic

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """Hold evaluations back while a request of somebody who waits is being served, and a little longer."""
        self._served += 1
        for turn in self._running[self.limit :]:
            turn.taken_back.set()
        try:
            yield
        finally:
            self._served -= 1
            if not self._served:
                self._quiet_from = self._clock() + self._limits.quiet_seconds
                if self._look is not None:
                    self._look.cancel()
                # A timer may fire a moment early by this clock.
                self._look = asyncio.get_running_loop().call_later(self._limits.quiet_seconds + 0.01, self._admit)

    async def answer(self, engine: Engine, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks of one answer when all of it is there: before that it may have to begin anew.

        Raises:
            DeadlineExceeded: It was not its turn before the deadline.
            EngineError: What the engine raises.
        """
        turn = _Turn(next(self._orders))
        chunks: list[Chunk] | None = None
        while chunks is None:
            await self._given(turn, request)
            try:
                chunks = await _unless_taken_back(turn, engine, request)
            finally:
                self._running.remove(turn)
                self._admit()
            self.set_aside += chunks is None
        for chunk in chunks:
            yield chunk

    async def _given(self, turn: _Turn, request: EngineRequest) -> None:
        turn.given.clear()
        turn.taken_back.clear()
        insort(self._waiting, turn)
        self._admit()
        left = None if request.deadline is None else max(0.0, request.deadline - time.monotonic())
        try:
            async with asyncio.timeout(left):
                await turn.given.wait()
        except BaseException as error:
            # It may have been given in the very moment.
            (self._running if turn.given.is_set() else self._waiting).remove(turn)
            self._admit()
            if isinstance(error, TimeoutError):
                raise DeadlineExceeded(request.request_id) from None
            raise

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self.limit:
            turn = self._waiting.pop(0)
            insort(self._running, turn)
            turn.given.set()


async def _unless_taken_back(turn: _Turn, engine: Engine, request: EngineRequest) -> list[Chunk] | None:
    """Return the whole answer; None when the turn was taken back before its end, the core being rid of it then."""
    work = asyncio.ensure_future(_collected(engine, request))
    stop = asyncio.ensure_future(turn.taken_back.wait())
    try:
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        work.cancel()
        stop.cancel()
        await _ended(work, stop)


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    """Wait until all have ended. A cancellation meanwhile is raised afterwards: the place is not free before."""
    cancelled: asyncio.CancelledError | None = None
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _collected(engine: Engine, request: EngineRequest) -> list[Chunk]:
    async with aclosing(engine.generate(request)) as chunks:
        return [chunk async for chunk in chunks]
