"""Keeps a rollout going on this server: counts are written, the rollout is carried on, the routing is looked at.

Must not know how a rollout is judged. A server that stops, or is killed, leaves the rollout to the others.
"""

from __future__ import annotations

import asyncio
import logging

from ratchet_adapters.registry import Registry
from ratchet_adapters.rollouts.controller import carry_on
from ratchet_server.routing.router import Router
from ratchet_server.routing.swap import Swaps
from ratchet_server.traffic.arms import ArmCounter

__all__ = ["watch_rollout"]

log = logging.getLogger(__name__)


async def watch_rollout(registry: Registry, router: Router, swaps: Swaps, arms: ArmCounter, *, seconds: float) -> None:
    """Runs until cancelled; looks every `seconds`."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(arms.write)
            rollout = await asyncio.to_thread(carry_on, registry)
            if rollout is not None and (rollout.outcome or rollout.step != router.routing.step):
                swaps.look()
        except Exception:
            log.exception("the rollout is not carried on; trying again")
