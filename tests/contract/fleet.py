"""Servers as processes of their own, forked and told what to do through a pipe, on one database and artifact store.

The engine is a double; registry, artifact store, router, membership and swaps are real.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy import event
from sqlalchemy.orm import Session
from tests.unit.routing.conftest import EngineDouble

from ratchet_adapters.artifacts import open_store
from ratchet_adapters.registry import Database, FleetPolicy, PromotionPolicy, Proof, Registry
from ratchet_server.engine.errors import AdapterHasNoEffect
from ratchet_server.observability.metrics import Metrics
from ratchet_server.routing.router import CHAMPION, Route, Router, ServerDrained
from ratchet_server.routing.swap import Swaps

POLICY = PromotionPolicy(fleet=FleetPolicy(lease_seconds=2.0, answer_seconds=60.0))


@dataclass
class Engine(EngineDouble):
    """Refuses or never finishes what it is told to."""

    refuses: set[str] = field(default_factory=set)
    hangs: set[str] = field(default_factory=set)
    dies: set[str] = field(default_factory=set)

    async def prove(self, digest: str, expected: Proof | None = None) -> Proof:
        if digest in self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        while digest in self.hangs:
            await asyncio.sleep(0.01)
        if digest in self.refuses:
            raise AdapterHasNoEffect(digest, 0.0, 0.1)
        return await super().prove(digest, expected)


@dataclass
class Server:
    """A server process, as seen from outside."""

    name: str
    process: Any
    pipe: Connection

    def ask(self, *words: object, timeout: float = 60.0) -> Any:
        """Tell it something and return what it says."""
        self.pipe.send(words)
        return self.hear(timeout)

    def hear(self, timeout: float = 60.0) -> Any:
        """Return what it says next; EOFError when it is dead."""
        if not self.pipe.poll(timeout):
            raise TimeoutError(f"{self.name} says nothing")
        return self.pipe.recv()

    def until(self, holds: Callable[[dict[str, Any]], bool], seconds: float = 30.0) -> dict[str, Any]:
        """Ask for its state until something holds of it."""
        deadline = time.monotonic() + seconds
        while not holds(state := self.ask("state")):
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        return state

    def kill(self) -> None:
        """kill -9."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()


def start(name: str, url: str, artifacts: Path, policy: PromotionPolicy = POLICY) -> Server:
    """Fork a server; it takes traffic when this returns."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(name, url, artifacts, policy, there), daemon=True
    )
    process.start()
    there.close()
    server = Server(name, process, here)
    assert server.hear() == "ready"
    return server


def _run(name: str, url: str, artifacts: Path, policy: PromotionPolicy, pipe: Connection) -> None:
    asyncio.run(_main(name, url, artifacts, policy, pipe))


async def _main(name: str, url: str, artifacts: Path, policy: PromotionPolicy, pipe: Connection) -> None:
    registry = Registry(Database(url), policy=policy)
    router, engine, health = Router(registry, registry.routing()), Engine(), []

    async def tell(serving: bool) -> None:
        health.append(serving)

    swaps = Swaps(
        registry, open_store(str(artifacts)), engine, router, Metrics(CollectorRegistry()),
        keep=4, tell=tell, name=name,
    )  # type: ignore[arg-type]  # fmt: skip
    await swaps.start(0.25)
    pipe.send("ready")
    while True:
        word, *rest = await asyncio.to_thread(pipe.recv)
        if word == "promote":
            asyncio.create_task(_promote(swaps, pipe, *rest))  # noqa: RUF006
            continue
        if word == "state":
            pipe.send(_state(router, health[-1]))
            continue
        if word == "stop":
            await swaps.stop()
        elif word == "rollback":
            await swaps.rollback(actor=name, reason="")
        elif word == "die":
            _die_at(registry, rest[0])
        else:
            getattr(engine, word).symmetric_difference_update(rest)
        pipe.send("done")


async def _promote(swaps: Swaps, pipe: Connection, digest: str) -> None:
    try:
        swap = await swaps.promote(digest, expected_champion=None, actor="me", reason="")
        pipe.send(swap.routing.champion)
    except Exception as error:
        pipe.send(type(error).__name__)


def _state(router: Router, healthy: bool) -> dict[str, Any]:
    try:
        router.admit(Route(router.routing.champion, CHAMPION))
        admits = True
    except ServerDrained:
        admits = False
    return {"champion": router.routing.champion, "version": router.routing.version, "admits": admits, "up": healthy}


def _die_at(registry: Registry, moment: str) -> None:
    """Have this process killed in the transaction that moves the alias, or right after it, or after the proposal."""

    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    # Other threads have transactions of their own meanwhile.
    mine = threading.local()

    def flushed(session: Session, *_: object) -> None:
        mine.wrote = getattr(mine, "wrote", set()) | {type(row).__name__ for row in session.new}

    def commit(*_: object) -> None:
        if moment == "before the alias moves" and "RoutingRow" in getattr(mine, "wrote", ()):
            die()

    def checkin(*_: object) -> None:
        # The connection goes back to its pool after its transaction has been committed.
        last = {"after the proposal": "ProposalRow", "after the alias moved": "RoutingRow"}.get(moment)
        if last in getattr(mine, "wrote", ()):
            die()

    event.listen(Session, "after_flush", flushed)
    event.listen(registry.database.engine, "commit", commit)
    event.listen(registry.database.engine, "checkin", checkin)
