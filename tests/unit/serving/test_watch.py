"""A dead core is reported before it is replaced, and health is honest while replacing it fails."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from ratchet_server.engine.engine import EngineStatus, RestartReport
from ratchet_server.engine.errors import EngineStartFailed, EngineUnavailable
from ratchet_server.observability.metrics import Metrics
from ratchet_server.serving import watch


class Engine:
    """Dies once; its first restarts fail."""

    def __init__(self, failing):
        self.dead, self.failing, self.events = False, failing, []

    def status(self):
        return EngineStatus(0, 0, not self.dead, ())

    async def check_health(self):
        if self.dead:
            raise EngineUnavailable("it died")

    async def restart(self):
        self.events.append("restart")
        if self.failing:
            self.failing -= 1
            raise EngineStartFailed("no memory")
        self.dead = False
        return RestartReport(0.1, ("sha256:good",), {"sha256:bad": "another fingerprint"})


@pytest.fixture
def quick(monkeypatch):
    """No real waiting."""
    monkeypatch.setattr(watch, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(watch, "BACKOFF_SECONDS", (0.01, 0.02))


@pytest.mark.parametrize("failing", [0, 3])
async def test_health_is_off_before_the_restart_and_on_only_after_one_that_worked(quick, failing):
    engine = Engine(failing)
    metrics = Metrics(CollectorRegistry())

    async def serving(yes):
        engine.events.append(yes)

    watcher = asyncio.create_task(watch.watch_engine(engine, serving, metrics))
    await asyncio.sleep(0.05)
    assert engine.events == [], "a healthy engine changes nothing"
    engine.dead = True
    async with asyncio.timeout(5):
        while not engine.events or engine.events[-1] is not True:
            await asyncio.sleep(0.01)
    assert not watcher.done()
    watcher.cancel()
    tries = [event for event in engine.events if event == "restart"]
    assert len(tries) == failing + 1
    assert engine.events[0] is False
    assert engine.events.index(True) == len(engine.events) - 1
