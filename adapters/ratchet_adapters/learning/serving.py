"""The serving engine as the learner sees it: blocking calls that a shutdown can interrupt.

Must not know the steps of a run, nor decide what a refusal means.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

from ratchet.client import AsyncRatchet
from ratchet.client.errors import from_rpc_error
from ratchet.v1 import adapter_pb2, engine_pb2
from ratchet_adapters.learning.errors import LearnerStopping

__all__ = ["ServingEngine", "run_until_stopped"]

T = TypeVar("T")
_WATCH_S = 0.1


def run_until_stopped(
    work: Callable[[], Awaitable[T]], stopping: threading.Event, *, on_tick: Callable[[], None] | None = None
) -> T:
    """Run asyncio work to its end in this thread, or cancel it when the learner stops.

    Args:
        work: Makes the awaitable.
        stopping: The signal to stop.
        on_tick: Called now and then, outside the event loop, so it may block; what it raises cancels the work.

    Raises:
        LearnerStopping: The learner is shutting down; the work was cancelled.
    """

    async def race() -> T:
        task = asyncio.ensure_future(work())
        try:
            while not task.done():
                if stopping.is_set():
                    raise LearnerStopping
                await asyncio.wait([task], timeout=_WATCH_S)
                if on_tick is not None:
                    await asyncio.to_thread(on_tick)
            return await task
        finally:
            task.cancel()
            await asyncio.wait([task])

    return asyncio.run(race())


class ServingEngine:
    """Calls to one server. Every method raises `ratchet.client.RatchetError`, or `LearnerStopping` at a shutdown."""

    def __init__(self, address: str, stopping: threading.Event, *, timeout_s: float) -> None:
        """Connect anew for each call: a call is rare here and its event loop lives no longer than it."""
        self.address = address
        self._stopping = stopping
        self._timeout_s = timeout_s

    def run(self, work: Callable[[AsyncRatchet], Awaitable[T]]) -> T:
        """Run asyncio work against the server."""

        async def connected() -> T:
            async with AsyncRatchet(self.address) as client:
                try:
                    return await work(client)
                except grpc.RpcError as error:
                    raise from_rpc_error(error) from error

        return run_until_stopped(connected, self._stopping)

    def status(self) -> engine_pb2.GetStatusResponse:
        """What it serves and from where."""
        return self.run(lambda client: client.engine.GetStatus(engine_pb2.GetStatusRequest(), timeout=self._timeout_s))

    def load(self, digest: str) -> adapter_pb2.Adapter:
        """Load and prove a registered adapter; nothing is routed to it. Repeating it is harmless."""
        request = engine_pb2.LoadRequest(adapter=digest)
        return self.run(lambda client: client.engine.Load(request, timeout=self._timeout_s)).adapter

    def unload(self, digest: str) -> None:
        """Free an adapter that nobody is routed to."""
        request = engine_pb2.UnloadRequest(adapter=digest)
        self.run(lambda client: client.engine.Unload(request, timeout=self._timeout_s))

    def promote(self, digest: str, *, expected_champion: str, actor: str, reason: str) -> adapter_pb2.Routing:
        """Make an adapter champion in place of the expected one ("" for the base model)."""
        request = adapter_pb2.PromoteRequest(
            adapter=digest, expected_champion=expected_champion or "base", actor=actor, reason=reason
        )
        return self.run(lambda client: client.adapters.Promote(request, timeout=self._timeout_s)).routing

    def begin_rollout(self, digest: str, *, actor: str, reason: str) -> adapter_pb2.Rollout:
        """Begin an adapter's rollout by the server's plan."""
        request = adapter_pb2.BeginRolloutRequest(adapter=digest, actor=actor, reason=reason)
        return self.run(lambda client: client.adapters.BeginRollout(request, timeout=self._timeout_s)).rollout
