"""Keeps the engine up and health honest: a dead core is noticed, reported and replaced."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ratchet_server.engine.engine import Engine
from ratchet_server.engine.errors import EngineError
from ratchet_server.observability.metrics import Metrics

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
BACKOFF_SECONDS = (1, 5, 15, 30, 60)


async def watch_engine(engine: Engine, serving: Callable[[bool], Awaitable[None]], metrics: Metrics) -> None:
    """Runs until cancelled; `serving` is told what health checks shall see.

    While the core is down, health is NOT_SERVING and requests get a retryable error."""
    failures = 0
    while True:
        status = engine.status()
        metrics.engine(status.running, status.waiting, status.ready)
        await asyncio.sleep(CHECK_SECONDS)
        try:
            await engine.check_health()
            continue
        except EngineError as error:
            log.error("engine core is down: %s", error)
        metrics.engine(0, 0, False)
        await serving(False)
        try:
            report = await engine.restart()
        except EngineError:
            pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
            failures += 1
            log.exception("engine restart failed, next try in %d s", pause)
            await asyncio.sleep(pause)
            continue
        failures = 0
        log.info("engine back after %.0f s with %d adapters", report.seconds, len(report.restored))
        for digest, why in report.refused.items():
            log.error("adapter %s was not restored: %s", digest[:19], why)
        await serving(True)
