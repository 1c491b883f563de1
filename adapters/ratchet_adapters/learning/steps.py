"""The steps of a run by name, and the two ways a run ends.

Must not know that steps are made durable, nor how.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ratchet_adapters.evals.gates.report import GateReport
from ratchet_adapters.learning import proving, scanning, teaching
from ratchet_adapters.learning.progress import RunProgress
from ratchet_adapters.learning.second_chance import second_chance_options, second_chances, strength
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.registry import GateOutcome, ReportNotFound, RunState
from ratchet_adapters.training.methods import method

__all__ = ["BODIES", "Body", "abandon", "conclude", "give_up"]

log = logging.getLogger(__name__)

Body = Callable[[Workbench, Trail, RunProgress], Trail]

BODIES: Mapping[str, Body] = MappingProxyType(
    {
        "select": teaching.select,
        "replay": teaching.replay,
        "train": teaching.train,
        "register": teaching.register,
        "load": proving.load,
        "evaluate": proving.evaluate,
        "scan": scanning.scan,
        "gate": proving.gate,
        "promote": proving.promote,
    }
)


def conclude(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
    """End a run that reached its report, whatever the report says: the run did its work."""
    if not method(trail.method).servable:
        kept = bench.artifacts.fetch(trail.adapter)
        _end(bench, trail.run_id, RunState.SUCCEEDED, detail=f"kept in {kept}. It is no adapter and serves nobody.")
        return trail
    if trail.outcome != GateOutcome.PASS:
        _unload(bench, trail.adapter)
        detail = f"gate: {trail.outcome}. {trail.reason} The champion is unchanged.{_weaker(bench, trail)}"
    elif trail.promoted:
        detail = "gate: PASS. The candidate is champion."
    elif begun := proving.rollout_of(bench, trail):
        detail = f"gate: PASS. Rollout {begun.id} puts the candidate into service step by step, or takes it back."
    else:
        detail = "gate: PASS. The candidate waits, loaded, for somebody to promote it."
    _end(bench, trail.run_id, RunState.SUCCEEDED, detail=detail, progress=1.0)
    return trail


def _weaker(bench: Workbench, trail: Trail) -> str:
    """What is tried, or could be, when the candidate refused too much and nothing else is wrong with it; else ""."""
    try:
        report = GateReport.from_dict(bench.registry.report_for_run(trail.run_id).body)
    except ReportNotFound:
        return ""
    if report.problems:
        # Less of a poisoned adapter, or of one trained on leaked items, is no better.
        return ""
    settings = bench.settings.second_chance
    adapter, tried = strength(trail.adapter, trail.method, trail.options)
    gammas = second_chances(report.axes, settings, tried)
    if not gammas:
        return ""
    name, options = second_chance_options(adapter, gammas[0])
    if not settings.automatic:
        return f" At less strength it may pass: ratchet train --method {name} --options '{json.dumps(options)}'"
    # The key makes a conclusion that is repeated after a crash find the run it has queued already.
    queued = bench.registry.create_run(
        method=name,
        options=options,
        requested_by="learner",
        promote_on_pass=trail.promote_on_pass,
        idempotency_key=f"second-chance-{trail.run_id}",
    )
    return f" Run {queued.id} tries it at strength {gammas[0]:g}."


def give_up(bench: Workbench, trail: Trail, why: str, *, cancelled: bool) -> None:
    """End a run that failed or was cancelled: its candidate stays registered, unrouted, and leaves the engine."""
    _unload(bench, trail.adapter)
    if cancelled:
        _end(bench, trail.run_id, RunState.CANCELLED, detail="cancelled; nothing was promoted")
    else:
        _end(bench, trail.run_id, RunState.FAILED, error=why)


def abandon(bench: Workbench, run_id: str, status: str) -> None:
    """End a run whose workflow ended without saying how."""
    run = bench.registry.run(run_id)
    why = (
        f"The run's workflow ended as {status} in step {run.step or 'select'}: it took the learner down too often, or "
        "its steps belong to another version. The learner's log has more; start a new run."
    )
    give_up(bench, Trail(run_id, adapter=run.adapter_digest), why, cancelled=False)


def _end(bench: Workbench, run_id: str, state: RunState, **fields: Any) -> None:
    if RunState(bench.registry.run(run_id).state).final:
        return
    bench.registry.update_run(run_id, state=state, **fields)


def _unload(bench: Workbench, digest: str) -> None:
    """Free the candidate's place in the engine. Best effort: an engine that cannot be told has no need to be."""
    if not digest:
        return
    try:
        routing = bench.registry.routing()
        if digest not in (routing.champion, routing.previous):
            bench.engine(timeout_s=30.0).unload(digest)
    # Whatever stands in the way, the run's own failure must be what is recorded.
    except Exception as error:
        log.warning("candidate %s was not unloaded: %s", digest, error)
