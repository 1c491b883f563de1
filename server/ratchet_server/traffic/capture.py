"""Keeps every exchange and its automatic flags, off the request path.

Writes in batches from one background task. A store that is slow or down makes the queue grow, then drops the oldest
exchanges (counted, logged); it never delays or fails a request. Flags that users submit do not come through here:
those are written before they are acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, Field

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.flags import Exchange, FlagStore, NewFlag
from ratchet_server.traffic.autoflag import AutoFlagSettings, auto_flags

Row = TypeVar("Row", Exchange, NewFlag)

log = logging.getLogger(__name__)


class CaptureSettings(BaseModel, extra="forbid"):
    """How exchanges are kept."""

    flush_seconds: float = Field(0.25, gt=0)
    """Longest time an exchange waits before it is written."""

    queue_size: int = Field(10_000, ge=1)
    """Exchanges held while the store does not answer; beyond it the oldest are dropped and counted."""

    auto_flag: AutoFlagSettings = AutoFlagSettings()


class Capture:
    """One per server. `record` never waits; `close` writes what is left."""

    def __init__(self, store: FlagStore, settings: CaptureSettings, on_flag: Callable[[str, str], None]) -> None:
        self._store = store
        self._settings = settings
        self._on_flag = on_flag
        self._queue: deque[Exchange] = deque()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    def start(self) -> None:
        """Starts the writer."""
        self._task = asyncio.create_task(self._run(), name="capture")

    def record(self, exchange: Exchange) -> None:
        """Queues one exchange."""
        if len(self._queue) >= self._settings.queue_size:
            self._queue.popleft()
            self.dropped += 1
            if self.dropped % 100 == 1:
                log.error("capture queue full: %d exchanges dropped so far; is the database down?", self.dropped)
        self._queue.append(exchange)
        self._idle.clear()
        self._wake.set()

    async def flushed(self) -> None:
        """Returns when everything recorded so far is written."""
        await self._idle.wait()

    async def close(self) -> None:
        """Writes what is left and stops; what the store refuses now is logged as lost."""
        if self._task:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.flushed(), 10)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._queue:
            log.error("%d exchanges could not be written", len(self._queue))

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(self._settings.flush_seconds)
            self._wake.clear()
            batch, dropped = list(self._queue), self.dropped
            if not batch:
                continue
            flags = [flag for exchange in batch for flag in auto_flags(exchange, self._settings.auto_flag)]
            try:
                await asyncio.to_thread(self._write, batch, flags)
            except Exception:
                log.exception("exchanges not written, trying again")
                await asyncio.sleep(1)
                self._wake.set()
                continue
            for _ in range(len(batch) - (self.dropped - dropped)):
                self._queue.popleft()
            for flag in flags:
                self._on_flag(flag.kind, flag.source)
            if not self._queue:
                self._idle.set()

    def _write(self, batch: list[Exchange], flags: list[NewFlag]) -> None:
        _write_all(self._store.save_exchanges, batch)
        _write_all(self._store.submit, flags)


def _write_all(write: Callable[[list[Row]], object], rows: list[Row]) -> None:
    """One row that can never be written must not keep the others waiting for ever."""
    if not rows:
        return
    try:
        write(rows)
    except InvalidInput as error:
        if len(rows) == 1:
            log.error("request %s is not kept: %s", rows[0].request_id, error)
            return
        for row in rows:
            _write_all(write, [row])
