"""Adapters into the engine, and the champion from one to the next.

An adapter becomes routable only here: fetched by digest, loaded, proven. Promotion and rollback are one registry
transaction each, then one assignment in the router: requests in flight keep their adapter. Must not know gRPC.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ratchet_adapters.artifacts import ArtifactStore
from ratchet_adapters.registry import AdapterRecord, Registry, RolloutPlan, RolloutRecord, Routing
from ratchet_server.engine.engine import Engine
from ratchet_server.engine.errors import AdapterFingerprintMismatch, AdapterHasNoEffect, AdapterSlotsExhausted
from ratchet_server.observability.metrics import Metrics, ProofOutcome
from ratchet_server.routing.following import Following
from ratchet_server.routing.membership import Membership, Tell, tell_nobody
from ratchet_server.routing.router import Router

log = logging.getLogger(__name__)

Verify = Callable[[str, Path], object]
"""Digest and folder of an adapter whose files the artifact store has just verified."""

_PROOF_OUTCOME: dict[type[Exception], ProofOutcome] = {
    AdapterHasNoEffect: "no_effect",
    AdapterFingerprintMismatch: "mismatch",
}


class AdapterUnavailable(Exception):
    """The adapter a request is routed to cannot be served; answering with the base model instead would be unsafe."""

    def __init__(self, digest: str, why: str) -> None:
        super().__init__(
            f"adapter {digest[:19]} cannot be served: {why}; roll back (ratchet adapters rollback) or restore its files"
        )
        self.digest = digest


@dataclass(frozen=True)
class Swap:
    """A change of champion and how long it took, from the call to the first request on the new one."""

    routing: Routing
    milliseconds: float


class Swaps:
    """One per server."""

    def __init__(
        self,
        registry: Registry,
        artifacts: ArtifactStore,
        engine: Engine,
        router: Router,
        metrics: Metrics,
        *,
        keep: int,
        verify: Verify = lambda digest, folder: None,
        tell: Tell = tell_nobody,
        name: str = "",
        serve_alone: bool = True,
        room_seconds: float = 10.0,
    ) -> None:
        """One per server.

        Args:
            keep: Adapters held in the engine; the longest unused one that no alias points at makes room.
            room_seconds: How long the requests of that one are waited for, before the load is refused.
            verify: Called in a thread before an adapter is loaded; raises when its signature is not as it must be.
            tell, name, serve_alone: See `Membership`.
        """
        self._registry = registry
        self._artifacts = artifacts
        self._engine = engine
        self._router = router
        self._metrics = metrics
        self._keep = keep
        self._verify = verify
        self._room_seconds = room_seconds
        self._proven: dict[str, float] = {}
        self._lock = asyncio.Lock()
        self._membership = Membership(
            registry, router,
            ensure=self.ensure, routable=self.routable, tell=tell, name=name, serve_alone=serve_alone,
        )  # fmt: skip
        self._following = Following(
            registry, router,
            ensure=self.ensure, routable=self.routable, swap=self._swapped, heard=self._membership.look,
        )  # fmt: skip

    def routable(self, digest: str) -> bool:
        """Loaded and proven; the base model always is."""
        return not digest or (digest in self._proven and self._engine.holds(digest))

    async def ensure(self, digest: str) -> None:
        """Loads and proves an adapter unless it is routable already.

        Raises:
            ArtifactMissing, ArtifactCorrupt: its files.
            AdapterLoadFailed: the engine refuses it.
            AdapterHasNoEffect, AdapterFingerprintMismatch: it is not what it claims to be.
        """
        if self.routable(digest):
            if digest:
                self._proven[digest] = time.monotonic()
            return
        async with self._lock:
            if not self.routable(digest):
                await self._load(digest)

    async def usable(self, digest: str) -> None:
        """As `ensure`, for the request path: any failure becomes AdapterUnavailable, never the base model."""
        try:
            await self.ensure(digest)
        except Exception as error:
            log.exception("adapter %s cannot be served", digest)
            raise AdapterUnavailable(digest, str(error)) from error

    async def promote(self, name: str, *, expected_champion: str | None, actor: str, reason: str) -> Swap:
        """Makes a proven adapter the champion of all servers if its newest report against the present champion is PASS.

        Raises:
            AdapterNotFound, GateRefused, ChampionChanged: from the registry, nothing changed.
            AdapterHasNoEffect and the other errors of `ensure`: nothing changed.
            QuorumMissing: too few of the other servers can serve it; nothing changed.
        """
        started = time.perf_counter()
        record = await asyncio.to_thread(self._registry.adapter, name)
        await self.ensure(record.digest)
        routing = await self._membership.promote(
            record.digest, expected_champion=expected_champion, actor=actor, reason=reason
        )
        return await self._swapped(routing, started)

    async def rollback(self, *, actor: str, reason: str) -> Swap:
        """Puts the previous champion back, whatever state the present one is in.

        Raises:
            NothingToRollBack: the base model already serves and nothing was promoted before.
        """
        started = time.perf_counter()
        routing = await asyncio.to_thread(self._registry.rollback, actor=actor, reason=reason)
        swap = await self._swapped(routing, started)
        await self.usable(routing.champion)
        return swap

    async def begin(self, name: str, plan: RolloutPlan, *, actor: str, reason: str) -> RolloutRecord:
        """Begins a rollout of a proven adapter.

        Raises:
            The errors of `ensure` and of `Registry.begin_rollout`: nothing changed.
        """
        record = await asyncio.to_thread(self._registry.adapter, name)
        await self.ensure(record.digest)
        rollout = await asyncio.to_thread(
            self._registry.begin_rollout, record.digest, plan=plan, actor=actor, reason=reason
        )
        await self._swapped(await asyncio.to_thread(self._registry.routing), time.perf_counter())
        return rollout

    async def _swapped(self, routing: Routing, started: float) -> Swap:
        before = self._router.routing.version
        applied = self._router.apply(routing)
        seconds = time.perf_counter() - started
        # Not applied: the poll was faster and has counted it, or the champion was promoted once more.
        if applied:
            self._metrics.champion(routing.champion)
            beside = f", {routing.split} {routing.beside[:19] or 'base'}" if routing.split else ""
            log.info("champion is %s%s after %.0f ms", routing.champion[:19] or "base", beside, seconds * 1e3)
            self._membership.look()
            await self._count(before, routing.version, seconds)
        return Swap(routing, seconds * 1e3)

    async def _count(self, before: int, version: int, seconds: float) -> None:
        """Each change on the way as what the registry says it was, and as done by the server that decided it.

        A swap that is in force must not be reported as failed, so an error here ends in the log.
        """
        try:
            changes = await asyncio.to_thread(self._registry.routing_changes, before, version)
        except Exception:
            log.exception("the swaps from version %d to %d of the routing are missing in the metrics", before, version)
            return
        for change in changes:
            if change.kind != "split":
                self._metrics.swap(change.kind, seconds, decided_here=change.decided_by == self._membership.id)

    async def remove(self, name: str) -> None:
        """Takes an unrouted adapter out of the engine; waits for its requests."""
        record = await asyncio.to_thread(self._registry.adapter, name)
        if record.digest in self._router.routed():
            raise AdapterInUse(record.digest)
        async with self._lock:
            self._proven.pop(record.digest, None)
            if self._engine.holds(record.digest):
                await self._engine.unload(record.digest)

    async def start(self, poll_seconds: float) -> None:
        """Brings what is routed up, then follows what other servers change: at once where the database tells of it,
        else within `poll_seconds`."""
        for digest in sorted(self._router.routed(), key=lambda d: d != self._router.routing.champion):
            try:
                await self.ensure(digest)
            except Exception:
                log.exception("adapter %s is routed but cannot be served; its requests are refused", digest)
        table = self._router.routing
        self._metrics.champion(table.champion, since=table.changed_at.timestamp())
        await self._membership.start(poll_seconds)
        self._following.start(poll_seconds)

    async def stop(self) -> None:
        """Leaves the other servers and stops following."""
        await self._membership.stop()
        await self._following.stop()

    def look(self) -> None:
        """Something may have changed: look now, not at the next poll."""
        self._following.look()

    async def _load(self, digest: str) -> None:
        record = await asyncio.to_thread(self._registry.adapter, digest)
        started = time.perf_counter()
        try:
            folder = await asyncio.to_thread(self._artifacts.fetch, digest)
            await asyncio.to_thread(self._verify, digest, folder)
            await self._make_room(digest)
            await self._engine.load(digest, folder)
            await self._prove(record)
        except Exception:
            self._metrics.adapter_load("error", time.perf_counter() - started)
            raise
        self._metrics.adapter_load("ok", time.perf_counter() - started)
        self._proven[digest] = time.monotonic()

    async def _prove(self, record: AdapterRecord) -> None:
        started = time.perf_counter()
        try:
            proof = await self._engine.prove(record.digest, record.proof)
        except Exception as error:
            self._metrics.proof(_PROOF_OUTCOME.get(type(error), "error"), time.perf_counter() - started)
            await self._engine.unload(record.digest)
            raise
        self._metrics.proof("pass", time.perf_counter() - started)
        if record.proof is None:
            await asyncio.to_thread(self._registry.record_proof, record.digest, proof, "server")

    async def _make_room(self, wanted: str) -> None:
        routed = self._router.routed() | self._membership.wanted
        while len(self._engine.loaded()) >= self._keep:
            spare = [d for d in self._engine.loaded() if d not in routed]
            if not spare:
                return
            # One that answers now has to be waited for; whoever is idle goes before it.
            traffic = self._router.traffic()
            busy = {d for d, (_, in_flight) in traffic.items() if in_flight}
            oldest = min(spare, key=lambda d: (d in busy, self._proven.get(d, 0.0)))
            used = self._proven.pop(oldest, None)
            try:
                # Cancelled while it waits for its requests, an unload leaves the adapter where it is.
                async with asyncio.timeout(self._room_seconds):
                    await self._engine.unload(oldest)
            except TimeoutError:
                self._proven |= {} if used is None else {oldest: used}
                raise AdapterSlotsExhausted(wanted, self._keep) from None


class AdapterInUse(Exception):
    """An alias still points at the adapter."""

    def __init__(self, digest: str) -> None:
        super().__init__(f"adapter {digest[:19]} is routed (champion or previous); promote another one first")
        self.digest = digest
