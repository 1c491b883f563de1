"""A server's routing in a process of its own: follows the database and says when each version came into force.

Run as a script: `routing_worker.py URL ARTIFACTS`. One JSON line per version, with the time of the system's clock. The
engine is a double; registry, artifact store, router and swaps are real.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from prometheus_client import CollectorRegistry
from tests.unit.routing.conftest import EngineDouble

from ratchet_adapters.artifacts import open_store
from ratchet_adapters.registry import Registry
from ratchet_server.observability.metrics import Metrics
from ratchet_server.routing.router import Router
from ratchet_server.routing.swap import Swaps
from ratchet_server.settings import RoutingSection


def say(**fact: object) -> None:
    """Write one fact."""
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


async def main(url: str, artifacts: Path) -> None:
    """Follow until killed."""
    registry = Registry.open(url)
    router = Router(registry, registry.routing())
    swaps = Swaps(registry, open_store(str(artifacts)), EngineDouble(), router, Metrics(CollectorRegistry()), keep=4)  # type: ignore[arg-type]
    await swaps.start(RoutingSection().poll_seconds)
    await asyncio.sleep(0.3)
    say(ready=True)
    known = -1
    while True:
        route = await router.resolve("")
        if (version := router.routing.version) != known:
            say(version=version, champion=route.digest, at=time.time())
            known = version
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
