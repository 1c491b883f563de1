"""Keeps a rollout going on this server: counts are written, the rollout is carried on, the routing is looked at.

Must not know how a rollout is judged. A server that stops, or is killed, leaves the rollout to the others.
"""

from __future__ import annotations

import asyncio
import logging

from ratchet_adapters.registry import Registry
from ratchet_adapters.rollouts.controller import carry_on
from ratchet_adapters.rollouts.judging import Judgement
from ratchet_server.observability.rollout_metrics import RolloutMetrics
from ratchet_server.routing.router import Router
from ratchet_server.routing.swap import Swaps
from ratchet_server.traffic.arms import ArmCounter

__all__ = ["RolloutReport", "watch_rollout"]

log = logging.getLogger(__name__)

NEWEST = 20


class RolloutReport:
    """Turns what the registry says of rollouts into metrics, each end once. Its calls block."""

    def __init__(self, registry: Registry, metrics: RolloutMetrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self._ended: set[str] | None = None
        self._step: tuple[str, int] | None = None
        self._judgement: Judgement | None = None

    def judged(self, judgement: Judgement) -> None:
        """Take the judgement of the present step, to be told with the next look."""
        self._judgement = judgement

    def look(self) -> None:
        """Read the rollouts and report them. What was over before the first look is not counted.

        Raises:
            RegistryUnavailable: Nothing was reported.
        """
        rollouts = self._registry.rollouts(NEWEST)
        over = [rollout for rollout in reversed(rollouts) if rollout.outcome and rollout.ended_at]
        first = self._ended is None
        known = self._ended or set()
        for rollout in over:
            if rollout.id not in known and rollout.ended_at:
                self._metrics.ended(rollout.outcome, rollout.ended_at.timestamp(), seen=not first)
        self._ended = {rollout.id for rollout in over}
        live = next((rollout for rollout in rollouts if not rollout.outcome), None)
        judgement, self._judgement = self._judgement, None
        if live is None:
            self._step = None
            self._metrics.none_under_way()
            return
        if self._step != (live.id, live.step):
            self._step, judgement = (live.id, live.step), None
            self._metrics.new_step()
            self._metrics.under_way(live.candidate, str(live.plan["steps"][live.step]["kind"]))
        for figure in judgement.figures if judgement else ():
            within = None if figure.within is None else figure.within / figure.shown_at
            self._metrics.evidence(figure.metric, worse=figure.worse / figure.alarm_at, within=within)


async def watch_rollout(
    registry: Registry, router: Router, swaps: Swaps, arms: ArmCounter, report: RolloutReport, *, seconds: float
) -> None:
    """Runs until cancelled; looks every `seconds`."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await asyncio.to_thread(arms.write)
            rollout = await asyncio.to_thread(carry_on, registry, tell=report.judged)
            if rollout is not None and (rollout.outcome or rollout.step != router.routing.step):
                swaps.look()
            await asyncio.to_thread(report.look)
        except Exception:
            log.exception("the rollout is not carried on; trying again")
