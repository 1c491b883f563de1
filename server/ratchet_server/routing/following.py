"""Follows what other servers change about the routing, and loads what a change needs before it comes into force.

Must not know why the routing changes, nor how adapters are loaded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ratchet_adapters.registry import Registry, Routing, notifications
from ratchet_server.routing.router import Router

log = logging.getLogger(__name__)

_LISTEN_AGAIN_SECONDS = 1.0
_LOAD_AGAIN_SECONDS = 30.0


class Following:
    """One per server."""

    def __init__(
        self,
        registry: Registry,
        router: Router,
        *,
        ensure: Callable[[str], Coroutine[Any, Any, None]],
        routable: Callable[[str], bool],
        swap: Callable[[Routing, float], Awaitable[object]],
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """`swap`: puts a table in force, given `time.perf_counter()` of the moment it was first seen.

        `heard`: told, too, that something was heard of the other servers.
        """
        self._registry = registry
        self._router = router
        self._ensure = ensure
        self._routable = routable
        self._swap = swap
        self._heard = heard
        self._tasks: list[asyncio.Task[None]] = []
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._load_again = 0.0
        self._refused: tuple[str, float, float] = ("", 0.0, 0.0)
        self._changed = asyncio.Event()

    def start(self, poll_seconds: float) -> None:
        """Begins to follow: at once where the database tells of changes, else within `poll_seconds`."""
        self._tasks = [
            asyncio.create_task(self._follow(poll_seconds), name="routing"),
            asyncio.create_task(self._listen(), name="routing-notifications"),
        ]

    async def stop(self) -> None:
        """Stops following."""
        tasks = [*self._tasks, *self._loads.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []

    def look(self) -> None:
        """Something may have changed: look now, not at the next poll."""
        self._changed.set()

    async def _listen(self) -> None:
        while True:
            try:
                async for _ in notifications(self._registry.database):
                    self._changed.set()
                    self._heard()
                return  # this database tells nobody
            except Exception:
                log.exception("no notifications of routing changes; polling goes on")
            await asyncio.sleep(_LISTEN_AGAIN_SECONDS)

    async def _follow(self, poll_seconds: float) -> None:
        while True:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the event (CPython issue 86296).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(poll_seconds):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self._catch_up(poll_seconds)
            except Exception:
                # The table in force stays in force: the last known good.
                log.exception("cannot follow the registry")
            self._load_beside()

    def _load_beside(self) -> None:
        """Tries again, in the background and now and then, to load what should serve beside the champion."""
        digest, now = self._router.routing.beside, time.monotonic()
        if not self._router.routing.split or self._routable(digest) or now < self._load_again:
            return
        self._load_again = now + _LOAD_AGAIN_SECONDS
        if digest not in self._loads:
            self._loads[digest] = asyncio.create_task(self._ensure(digest))
            self._loads[digest].add_done_callback(lambda load: self._loaded_beside(digest, load))

    def _loaded_beside(self, digest: str, load: asyncio.Task[None]) -> None:
        if self._loads.get(digest) is load:
            del self._loads[digest]
        if not load.cancelled() and (error := load.exception()) is not None:
            log.error("%s cannot be served here: %s", digest[:19], error)

    async def _catch_up(self, poll_seconds: float) -> None:
        """Puts the newest table in force, going forward only when what it needs is loaded.

        While something loads, a newer table (a rollback above all) is not kept waiting.
        """
        started, failed = time.perf_counter(), set[str]()
        while (routing := await asyncio.to_thread(self._registry.routing)).version > self._router.routing.version:
            digest = self._missing(routing, failed)
            if digest is None:
                await self._swap(routing, started)
                return
            if digest == self._refused[0] and time.monotonic() < self._refused[2]:
                return
            # A load that is not needed any more goes on: an engine is not stopped in the middle of one.
            load = self._loads.get(digest) or self._loads.setdefault(digest, asyncio.create_task(self._ensure(digest)))
            await asyncio.wait({load}, timeout=poll_seconds)
            if not load.done():
                continue
            self._loads.pop(digest, None)
            if (error := load.exception()) is None:
                continue
            if digest == routing.champion:
                self._wait_longer(digest)
                raise error
            log.error("%s %s cannot be served here: %s", routing.split, digest[:19], error)
            failed.add(digest)

    def _wait_longer(self, digest: str) -> None:
        """A champion that cannot be loaded is tried again, ever less often."""
        before = self._refused[1] if self._refused[0] == digest else 0.25
        pause = min(before * 2, _LOAD_AGAIN_SECONDS)
        self._refused = (digest, pause, time.monotonic() + pause)

    def _missing(self, routing: Routing, failed: set[str]) -> str | None:
        """What has to be loaded before a table comes into force; going back waits for nothing."""
        if routing.champion != self._router.routing.previous and not self._routable(routing.champion):
            return routing.champion
        if routing.beside not in failed and not self._routable(routing.beside):
            return routing.beside
        return None
