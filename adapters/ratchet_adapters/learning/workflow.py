"""The durable workflow of a run: each step's result is stored before the next begins, and never made twice.

Must not know what a step does; the steps must not know that they are durable. Importing this imports DBOS.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from dbos import DBOS, SetWorkflowID, StepOptions, WorkflowHandle

from ratchet_adapters.learning.errors import LearningError, RunCancelled
from ratchet_adapters.learning.failures import typed_failure
from ratchet_adapters.learning.patience import Patience
from ratchet_adapters.learning.steps import BODIES, Body, conclude, give_up
from ratchet_adapters.learning.trail import STEPS, Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.training.methods import method

__all__ = ["busy", "equip", "start"]

log = logging.getLogger(__name__)

# A run that takes its learner down each time is given up after so many restarts.
MAX_RECOVERIES = 50

_equipment: list[Workbench] = []
_active: set[str] = set()


def equip(bench: Workbench) -> None:
    """Set what the workflows of this process work with: before launch, as recovery begins there.

    DBOS stores a workflow's arguments, so open stores cannot be among them; and it is one per process, like this.
    """
    _equipment[:] = [bench]


def start(run_id: str) -> WorkflowHandle[str]:
    """Start the workflow of a run, or take hold of it when it exists: its id is the run's."""
    if DBOS.get_workflow_status(run_id) is not None:
        return DBOS.retrieve_workflow(run_id)
    with SetWorkflowID(run_id):
        return DBOS.start_workflow(carry_out, run_id)


def busy() -> bool:
    """Whether a workflow is being carried out in this process now."""
    return bool(_active)


@DBOS.workflow(name="ratchet.learn", max_recovery_attempts=MAX_RECOVERIES)
def carry_out(run_id: str) -> str:
    """Carry a run from its flags to a report, and to a promotion when it asked for one. Returns how it ended."""
    _active.add(run_id)
    try:
        return _carry_out(_equipment[0], run_id)
    finally:
        _active.discard(run_id)


def _carry_out(bench: Workbench, run_id: str) -> str:
    trail = Trail(run_id)
    try:
        for name in STEPS:
            if (name == "promote" and not trail.wants_promotion) or (name == "scan" and not trail.scans):
                continue
            if name == "replay" and not method(trail.method).learns:
                continue
            if name == "register" and not method(trail.method).servable:
                break
            trail = _durable(bench, name, BODIES[name], trail)
        trail = _durable(bench, "conclude", conclude, trail)
    except Exception as failure:
        # What is caught is the error itself now, and a stored copy (class name and text) after a restart.
        kind = str(getattr(failure, "name", type(failure).__name__))
        cancelled = kind == RunCancelled.__name__
        DBOS.run_step({"name": "give up"}, _give_up, bench, trail, str(failure), cancelled)
        return "CANCELLED" if cancelled else "FAILED"
    return trail.outcome


def _durable(bench: Workbench, name: str, body: Body, trail: Trail) -> Trail:
    settings = bench.settings
    options: StepOptions = {
        "name": name,
        "retries_allowed": True,
        "max_attempts": settings.step_attempts,
        "interval_seconds": 0.0,
        "should_retry": Patience(
            bench.stopping,
            attempts=settings.step_attempts,
            backoff_s=settings.step_backoff_s,
            backoff_max_s=settings.step_backoff_max_s,
        ),
    }
    return Trail.from_json(DBOS.run_step(options, _attempt, bench, name, body, trail))


def _attempt(bench: Workbench, name: str, body: Body, trail: Trail) -> Mapping[str, Any]:
    progress = bench.progress(trail.run_id)
    if name in STEPS:
        progress.begin(name)
    try:
        return body(bench, trail, progress).to_json()
    except LearningError:
        raise
    except Exception as error:
        failure = typed_failure(name, error, server=bench.settings.server)
        log.warning("run %s, step %s: %s", trail.run_id, name, failure, exc_info=error)
        raise failure from error


def _give_up(bench: Workbench, trail: Trail, why: str, cancelled: bool) -> Mapping[str, Any]:
    give_up(bench, trail, why, cancelled=cancelled)
    return {"error": why}
