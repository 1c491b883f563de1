"""Which adapters the core holds, under which integer id, and who may use one now.

vLLM identifies an adapter by an integer and serves the old weights when an id is reused; a request for an adapter the
core does not hold is loaded inside the step and, if that fails, kills the core; a request whose adapter does not fit
in the step is skipped, possibly for ever. Hence the rules here: every load takes an id that was never used before, a
request is admitted only when its adapter is loaded, and no more than `max_in_flight` distinct adapters are in flight.

It must not know vLLM: the core is a port of two methods.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ratchet_server.engine.errors import AdapterNotLoaded, AdapterSlotsExhausted, EngineError

__all__ = ["AdapterCore", "AdapterSlots", "Lease"]


class AdapterCore(Protocol):
    """What the slots ask of the engine core."""

    async def add(self, digest: str, adapter_id: int, folder: Path) -> None:
        """Load an adapter under an id. Raises AdapterLoadFailed or EngineUnavailable."""
        ...

    async def remove(self, adapter_id: int) -> None:
        """Free an adapter. Raises EngineUnavailable."""
        ...


@dataclass(slots=True, eq=False)
class _Adapter:
    digest: str
    adapter_id: int
    folder: Path
    in_flight: int = 0
    users: int = 0
    drained: asyncio.Event | None = None


@dataclass(slots=True, order=True)
class _Waiter:
    rank: float
    order: int
    arrival: float = field(compare=False)
    adapter: _Adapter = field(compare=False)
    admitted: asyncio.Future[None] = field(compare=False)


class Lease:
    """The right to have one request in flight on one adapter; give it back with `release`."""

    __slots__ = ("_adapter", "_release", "adapter_id", "digest", "folder")

    def __init__(self, adapter: _Adapter, release: Callable[[_Adapter], None]) -> None:
        """Made by `AdapterSlots.acquire` only."""
        self.digest = adapter.digest
        self.adapter_id = adapter.adapter_id
        self.folder = adapter.folder
        self._adapter: _Adapter | None = adapter
        self._release = release

    def release(self) -> None:
        """Give the lease back; the second time does nothing."""
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            self._release(adapter)


class AdapterSlots:
    """The adapters of one engine. Belongs to one event loop; not thread-safe."""

    def __init__(
        self,
        core: AdapterCore,
        *,
        max_in_flight: int,
        max_loaded: int,
        patience: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the table.

        Args:
            core: Loads and frees adapters.
            max_in_flight: Most distinct adapters in flight.
            max_loaded: Most adapters loaded.
            patience: Seconds a request waits for a slot before newer ones on adapters in flight queue behind it.
                A priority of n counts as n times this much later arrival, so nobody waits for ever.
            clock: Seconds, monotonic.
        """
        self._core = core
        self._max_in_flight = max_in_flight
        self._max_loaded = max_loaded
        self._patience = patience
        self._clock = clock
        self._ids = itertools.count(1)
        self._orders = itertools.count()
        self._adapters: dict[str, _Adapter] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._waiters: list[_Waiter] = []

    def holds(self, digest: str) -> bool:
        """Return whether a digest can be asked for: it is loaded and not on its way out."""
        adapter = self._adapters.get(digest)
        return adapter is not None and adapter.drained is None

    def loaded(self) -> list[str]:
        """Return the digests that can be asked for, in the order they were loaded."""
        return [digest for digest in self._adapters if self.holds(digest)]

    def place(self, digest: str) -> tuple[int, Path]:
        """Return the id under which the core holds an adapter, and its folder. Raises AdapterNotLoaded."""
        adapter = self._usable(digest)
        return adapter.adapter_id, adapter.folder

    @property
    def waiting(self) -> int:
        """Requests waiting for a slot."""
        return len(self._waiters)

    def in_flight(self) -> dict[str, int]:
        """Return the number of leases out, by digest, without the adapters that have none."""
        return {digest: adapter.in_flight for digest, adapter in self._adapters.items() if adapter.in_flight}

    async def load(self, digest: str, folder: Path) -> None:
        """Load an adapter unless it is loaded; concurrent calls for one digest share one load.

        Args:
            digest: Content digest; what is loaded under it must have that content.
            folder: Immutable folder of the adapter.

        Raises:
            AdapterSlotsExhausted: `max_loaded` adapters are loaded.
            AdapterLoadFailed: The core refused it.
            EngineUnavailable: There is no core.
        """
        while (leaving := self._adapters.get(digest)) is not None and leaving.drained is not None:
            await leaving.drained.wait()
            await asyncio.sleep(0)  # lets the unload that waits for the same event take it out of the table
        if digest in self._adapters:
            return
        task = self._loading.get(digest)
        if task is None:
            if len(self._adapters) + len(self._loading) >= self._max_loaded:
                raise AdapterSlotsExhausted(digest, self._max_loaded)
            task = asyncio.get_running_loop().create_task(self._load(digest, folder))
            # A load nobody waits for any more may fail without a warning about it.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._loading[digest] = task
        await asyncio.shield(task)

    async def unload(self, digest: str) -> None:
        """Refuse new requests on an adapter, wait for those that have or await a lease, and free it.

        Cancelled while it waits, the adapter stays loaded.

        Raises:
            AdapterNotLoaded: It is not loaded, or being unloaded already.
            EngineUnavailable: There is no core; the adapter is gone from the table all the same.
        """
        adapter = self._usable(digest)
        adapter.drained = asyncio.Event()
        try:
            if adapter.users:
                await adapter.drained.wait()
        except asyncio.CancelledError:
            # Wakes a load that waits for the departure: it finds the adapter loaded.
            drained, adapter.drained = adapter.drained, None
            drained.set()
            raise
        self._forget(adapter)
        adapter.drained.set()
        await asyncio.shield(asyncio.ensure_future(self._core.remove(adapter.adapter_id)))

    async def acquire(self, digest: str, priority: int = 0) -> Lease:
        """Wait for the turn of a request on an adapter.

        Args:
            digest: A loaded adapter (not the base model, which needs no lease).
            priority: Lower goes first.

        Raises:
            AdapterNotLoaded: At once, when it is not loaded or being unloaded.
            EngineError: What `lose` was called with, while waiting.
        """
        adapter = self._usable(digest)
        now = self._clock()
        waiter = _Waiter(
            rank=now + priority * self._patience,
            order=next(self._orders),
            arrival=now,
            adapter=adapter,
            admitted=asyncio.get_running_loop().create_future(),
        )
        adapter.users += 1
        insort(self._waiters, waiter)
        self._admit()
        try:
            await waiter.admitted
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._leave(adapter)
            elif waiter.admitted.done() and not waiter.admitted.cancelled() and waiter.admitted.exception() is None:
                self._release(adapter)
            else:
                self._leave(adapter)
            raise
        return Lease(adapter, self._release)

    def lose(self, error: EngineError) -> dict[str, Path]:
        """Empty the table because the core is gone; requests that wait for a slot fail with `error`.

        Returns:
            Digest to folder of what was loaded.
        """
        lost = {digest: adapter.folder for digest, adapter in self._adapters.items() if adapter.drained is None}
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.admitted.done():
                waiter.admitted.set_exception(error)
        for adapter in list(self._adapters.values()):
            self._forget(adapter)
            if adapter.drained is not None:
                adapter.drained.set()
        return lost

    async def _load(self, digest: str, folder: Path) -> None:
        try:
            adapter_id = next(self._ids)
            await self._core.add(digest, adapter_id, folder)
            self._adapters[digest] = _Adapter(digest, adapter_id, folder)
        finally:
            self._loading.pop(digest, None)

    def _usable(self, digest: str) -> _Adapter:
        if not self.holds(digest):
            raise AdapterNotLoaded(digest)
        return self._adapters[digest]

    def _forget(self, adapter: _Adapter) -> None:
        if self._adapters.get(adapter.digest) is adapter:
            del self._adapters[adapter.digest]

    def _release(self, adapter: _Adapter) -> None:
        adapter.in_flight -= 1
        self._leave(adapter)

    def _leave(self, adapter: _Adapter) -> None:
        adapter.users -= 1
        if adapter.drained is not None and not adapter.users:
            adapter.drained.set()
        self._admit()

    def _admit(self) -> None:
        free = self._max_in_flight - len(self.in_flight())
        now = self._clock()
        held = False
        for waiter in list(self._waiters):
            joins = waiter.adapter.in_flight > 0
            if joins and not held:
                self._let_in(waiter)
            elif not joins and free > 0:
                free -= 1
                self._let_in(waiter)
            elif now - waiter.arrival >= self._patience:
                # Whoever comes after this one waits too, so that an adapter in flight runs dry and makes room.
                held = True

    def _let_in(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        # A waiter whose task was cancelled leaves by itself.
        if not waiter.admitted.done():
            waiter.adapter.in_flight += 1
            waiter.admitted.set_result(None)
