"""The buffer generation runs ahead into, while what is in it is judged.

It must not know verdicts; it only knows how much has come, how long it waits, and that the source is closed once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ratchet_server.rails.settings import Streaming

__all__ = ["StreamBuffer"]


class StreamBuffer:
    """Reads the source in a task of its own, and wakes the gate when there is something to do."""

    def __init__(self, source: AsyncIterator[str], settings: Streaming) -> None:
        self.ended = False
        self.overdue = False
        self._source = source
        self._eager = settings.mode == "bounded"
        self._window = settings.window_chars
        self._timed = settings.mode != "buffered"
        self._max_wait_s = settings.max_wait_ms / 1e3
        self._parts: list[str] = []
        self._text = ""
        self._received = 0
        self._judged_to = 0
        self._busy = False
        self._failure: Exception | None = None
        self._signal = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin to read."""
        self._task = asyncio.create_task(self._read())

    def text(self) -> str:
        """All text received so far."""
        if self._parts:
            self._text += "".join(self._parts)
            self._parts.clear()
        return self._text

    async def wait(self) -> None:
        """Until there is a window to judge, text waited too long, a verdict came, or the source ended."""
        await self._signal.wait()
        self._signal.clear()

    def wake(self, _: Any = None) -> None:
        """End a `wait`; usable as a callback."""
        self._signal.set()

    def raise_failure(self) -> None:
        """Raise what the source raised, if it did."""
        if self._failure is not None:
            raise self._failure

    def judging(self, length: int) -> None:
        """Note that all text up to an offset is being judged: it no longer waits."""
        self._judged_to, self._busy, self.overdue = length, True, False
        self._stop_timer()

    def judged(self) -> None:
        """Note that the verdict is there."""
        self._busy = False
        self._arm()

    def stop(self) -> None:
        """Stop reading, without waiting for it."""
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()

    async def close(self) -> None:
        """Stop reading and wait until the source is closed."""
        self.stop()
        if self._task is not None:
            await asyncio.wait({self._task})
        # A task that is cancelled before its first step never gets to close what it reads.
        await self._close_source()

    async def _read(self) -> None:
        try:
            async for delta in self._source:
                self._parts.append(delta)
                self._received += len(delta)
                full = self._received - self._judged_to >= self._window
                if self._eager or (not self._busy and self._timed and (full or self.overdue)):
                    self._signal.set()
                if self._timer is None:
                    self._arm()
        except Exception as error:
            self._failure = error
        finally:
            try:
                await self._close_source()
            finally:
                self.ended = True
                self._signal.set()

    async def _close_source(self) -> None:
        if self._closed:
            return
        self._closed = True
        aclose = getattr(self._source, "aclose", None)
        if aclose is None:
            return
        try:
            await aclose()
        except Exception as error:
            self._failure = self._failure or error

    def _arm(self) -> None:
        if self._timed and self._timer is None and not self._busy and self._received > self._judged_to:
            self._timer = asyncio.get_running_loop().call_later(self._max_wait_s, self._ring)

    def _ring(self) -> None:
        self._timer, self.overdue = None, True
        self._signal.set()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
