"""This server among the others on one database: its lease, its answers, and whether it may take traffic.

Must not know how adapters are loaded, nor the wire. What is decided is decided in the registry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ratchet_adapters.registry import FleetNotReady, Registry, Routing, ServerRecord, ServerState, Wanted
from ratchet_server.routing.router import Router

log = logging.getLogger(__name__)

Tell = Callable[[bool], Awaitable[None]]
"""Told whether this server may take traffic, when that changes."""


async def tell_nobody(serving: bool) -> None:
    """For a server whose health nobody asks for."""


class Membership:
    """One per server."""

    def __init__(
        self,
        registry: Registry,
        router: Router,
        *,
        ensure: Callable[[str], Coroutine[Any, Any, None]],
        routable: Callable[[str], bool],
        tell: Tell = tell_nobody,
        name: str = "",
        serve_alone: bool = True,
    ) -> None:
        """One per server.

        Args:
            registry: Shared with the other servers.
            router: Closed while this server may not take traffic.
            ensure: Loads and proves an adapter.
            routable: Whether an adapter is loaded and proven.
            tell: See `Tell`.
            name: What people call this server; "" for host and process.
            serve_alone: Go on with the last known champion while the database cannot be reached.
        """
        self.id = uuid.uuid4().hex
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.wanted: frozenset[str] = frozenset()
        self._registry = registry
        self._router = router
        self._ensure = ensure
        self._routable = routable
        self._tell = tell
        self._serve_alone = serve_alone
        self._lease = registry.policy.fleet.lease_seconds
        self._told: bool | None = None
        self._beat_at = 0.0
        self._heard_at = time.monotonic()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._warming: dict[str, asyncio.Task[None]] = {}
        registry.act_as(self.id)

    async def start(self, poll_seconds: float) -> None:
        """Joins, and takes traffic at once when the champion can be served here."""
        await asyncio.to_thread(self._registry.join, self.id, self.name)
        await self._look()
        self._task = asyncio.create_task(self._watch(min(poll_seconds, self._lease / 3)), name="membership")

    async def stop(self) -> None:
        """Leaves: nobody waits for this server any more."""
        tasks = [*([self._task] if self._task else []), *self._warming.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._task is None:
            return
        self._task = None
        try:
            await asyncio.to_thread(self._registry.leave, self.id)
        except Exception:
            log.exception("the others are not told that this server stops; its lease will run out")

    def look(self) -> None:
        """Something may have changed: look now."""
        self._news.set()

    async def promote(self, digest: str, *, expected_champion: str | None, actor: str, reason: str) -> Routing:
        """Makes an adapter that is proven here the champion of all servers: asks them, waits for them, moves the alias.

        Raises:
            QuorumMissing: Too few servers can serve it. This and every other error: nothing changed anywhere.
            The errors of `Registry.promote`.
        """

        def commit() -> Routing:
            return self._registry.promote(
                digest, expected_champion=expected_champion, actor=actor, reason=reason, proven_by=self.id
            )

        with contextlib.suppress(FleetNotReady):
            return await asyncio.to_thread(commit)
        proposal = await asyncio.to_thread(
            self._registry.propose, digest,
            expected_champion=expected_champion, server=self.id, actor=actor, reason=reason,
        )  # fmt: skip
        log.info("promotion of %s: the other servers are asked to make it ready", digest[:19])
        try:
            return await self._committed(commit)
        except BaseException as error:
            # Also when the caller is gone: nobody must find it promoted later on.
            why = str(error) or type(error).__name__
            await asyncio.shield(asyncio.to_thread(self._registry.abandon, proposal, self.id, why))
            raise

    async def _committed(self, commit: Callable[[], Routing]) -> Routing:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await self._news.wait()
            self._news.clear()
            with contextlib.suppress(FleetNotReady):
                return await asyncio.to_thread(commit)

    async def _watch(self, pause: float) -> None:
        while True:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the news (CPython issue 86296).
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._news.wait()
            self._news.clear()
            try:
                await self._look()
            except Exception:
                log.exception("the other servers cannot be reached through the database")
                await self._alone()

    async def _look(self) -> None:
        """One look: keep the lease up, get ready what is wanted, and take traffic or not."""
        standing = await self._standing()
        self._heard_at = time.monotonic()
        await self._get_ready(await asyncio.to_thread(self._registry.wanted, self.id))
        if standing.state is not ServerState.SERVING:
            champion = self._router.routing.champion
            if self._routable(champion) and await asyncio.to_thread(self._registry.serve, self.id, champion):
                await self._open()
                return
            await self._close(standing.why)
        else:
            await self._open()

    async def _standing(self) -> ServerRecord:
        now = time.monotonic()
        if now - self._beat_at < self._lease / 3:
            found = await asyncio.to_thread(self._registry.standing, self.id)
        else:
            found = await asyncio.to_thread(self._registry.beat, self.id)
            self._beat_at = now
            await asyncio.to_thread(self._registry.abandon_orphans, self.id)
        if found is None:
            await asyncio.to_thread(self._registry.join, self.id, self.name)
            found = await asyncio.to_thread(self._registry.standing, self.id)
        if found is None:
            raise RuntimeError("the registry has no server that has just joined")
        return found

    async def _get_ready(self, wanted: list[Wanted]) -> None:
        self.wanted = frozenset(each.digest for each in wanted)
        for each in wanted:
            if self._routable(each.digest):
                if each.said is not True:
                    await asyncio.to_thread(self._registry.answer, each.digest, self.id, ready=True)
            elif each.digest not in self._warming and each.said is not False:
                if each.said:
                    # It was evicted, or the engine came back without it.
                    await asyncio.to_thread(self._registry.retract, each.digest, self.id)
                self._warming[each.digest] = asyncio.create_task(self._warm(each.digest), name="warming")

    async def _warm(self, digest: str) -> None:
        try:
            await self._ensure(digest)
        except Exception as error:
            log.error("%s cannot be served here: %s", digest[:19], error)
            await asyncio.to_thread(self._registry.answer, digest, self.id, ready=False, why=str(error))
        finally:
            del self._warming[digest]
            self._news.set()

    async def _alone(self) -> None:
        if not self._serve_alone and time.monotonic() - self._heard_at > self._lease:
            await self._close("it has not reached the database for longer than its lease")

    async def _open(self) -> None:
        if self._told is not True:
            self._router.open()
            self._told = True
            log.info("%s takes traffic", self.name)
            await self._tell(True)

    async def _close(self, why: str) -> None:
        self._router.close(why)
        if self._told is not False:
            self._told = False
            log.error("%s takes no traffic: %s", self.name, why)
            await self._tell(False)
