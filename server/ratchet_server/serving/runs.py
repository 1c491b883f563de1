"""Learning runs as metrics. The learner has no exporter: the server counts what it sees change in the registry.

Must not know how runs are carried out. Several servers each count every run: aggregate with max, not sum.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from ratchet_adapters.registry import Registry, RunRecord, RunState
from ratchet_server.observability.metrics import Metrics

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
NEWEST = 20


@dataclass
class _Seen:
    run: RunRecord
    step_since: float


class RunWatch:
    """What changed since the last look."""

    def __init__(self, registry: Registry, metrics: Metrics) -> None:
        self._registry = registry
        self._metrics = metrics
        self._seen: dict[str, _Seen] = {}

    async def watch(self) -> None:
        """Looks until cancelled; what ended before the first look is not counted again."""
        first = True
        while True:
            try:
                runs = await asyncio.to_thread(self._registry.runs, NEWEST)
                for run in runs:
                    if first and RunState(run.state).final:
                        self._seen[run.id] = _Seen(run, time.monotonic())
                    await self._look(run)
                first = False
            except Exception:
                log.exception("cannot read the runs")
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self, run: RunRecord) -> None:
        before = self._seen.get(run.id)
        if before is not None and before.run == run:
            return
        now = time.monotonic()
        old = before.run if before else None
        since = before.step_since if before else now
        if run.step and (old is None or old.step != run.step):
            if old is not None and old.step:
                self._metrics.run_step(run.method, old.step, now - since)
            since = now
        if run.report_id and (old is None or not old.report_id):
            report = await asyncio.to_thread(self._registry.report, run.report_id)
            self._metrics.gate(str(report.outcome).lower())
        if RunState(run.state).final:
            if run.step:
                self._metrics.run_step(run.method, run.step, now - since)
            self._metrics.run_ended(run.method, str(run.state).lower())
        elif run.state == RunState.RUNNING:
            self._metrics.run_progress(run.method)
        self._seen[run.id] = _Seen(run, since)
