"""Gate reports: written once, never changed.

It must not know how one is made. The newest report for a candidate against a champion decides about promotion.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ratchet_adapters.artifacts.digest import bytes_digest, canonical_json
from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.registry import checks, ledger, rollouts, routing
from ratchet_adapters.registry.errors import ReportConflict, ReportNotFound
from ratchet_adapters.registry.models import AdapterRow, ReportRow
from ratchet_adapters.registry.records import GateOutcome, ReportRecord
from ratchet_adapters.registry.stages import Event, Stage, after, move

__all__ = ["add", "for_run", "get"]

_EVENTS = {GateOutcome.PASS: Event.PASS, GateOutcome.FAIL: Event.FAIL, GateOutcome.INCONCLUSIVE: Event.DOUBT}


def add(session: Session, report: ReportRecord, actor: str) -> bool:
    """Add a report; say whether it was new. The same report twice is fine, another one under its id is not."""
    _check(report)
    known = session.get(ReportRow, report.id)
    if known is not None:
        if _record(known) != report:
            raise ReportConflict(report.id)
        return False
    session.add(
        ReportRow(
            id=report.id,
            seq=(session.scalar(select(func.max(ReportRow.seq))) or 0) + 1,
            run_id=report.run_id,
            candidate_digest=report.candidate_digest,
            champion_digest=report.champion_digest,
            outcome=str(report.outcome),
            reason=report.reason,
            body=report.body,
            created_at=report.created_at,
        )
    )
    payload: dict[str, Any] = {
        "report_id": report.id, "run_id": report.run_id, "candidate": report.candidate_digest,
        "champion": report.champion_digest, "outcome": str(report.outcome),
        "body": bytes_digest(canonical_json(report.body).encode()),
    }  # fmt: skip
    payload["stages"] = _moved(session, report)
    ledger.append(session, actor, "report.added", payload)
    if payload["stages"] and report.outcome != GateOutcome.PASS:
        rollouts.refuse(session, report.candidate_digest, report.id, actor)
    return True


def _moved(session: Session, report: ReportRecord) -> dict[str, str]:
    """What the report does to its candidate's stage; one about another champion says nothing."""
    row = session.get(AdapterRow, report.candidate_digest)
    event = _EVENTS[GateOutcome(report.outcome)]
    if row is None or report.champion_digest != routing.current(session).champion:
        return {}
    return move(session, row.digest, event) if after(Stage(row.stage), event) else {}


def get(session: Session, report_id: str) -> ReportRecord:
    """Return a report by its id."""
    row = session.get(ReportRow, report_id) if "\0" not in report_id and report_id.isascii() else None
    if row is None:
        raise ReportNotFound(report_id)
    return _record(row)


def for_run(session: Session, run_id: str) -> ReportRecord:
    """Return the newest report of a run."""
    query = select(ReportRow).where(ReportRow.run_id == run_id).order_by(ReportRow.seq.desc()).limit(1)
    row = session.scalars(query).first() if run_id and "\0" not in run_id and run_id.isascii() else None
    if row is None:
        raise ReportNotFound(run_id)
    return _record(row)


def _check(report: ReportRecord) -> None:
    if not report.id.isascii():
        raise InvalidInput("id", "it is not ASCII")
    checks.text(report.id, "id", longest=64, empty=False)
    checks.text(report.run_id, "run_id", longest=64)
    checks.digest(report.candidate_digest, "candidate_digest", base=True)
    checks.digest(report.champion_digest, "champion_digest", base=True)
    checks.text(report.reason, "reason")
    checks.json_object(report.body, "body")
    checks.instant(report.created_at, "created_at")
    if report.outcome not in set(GateOutcome):
        raise InvalidInput("outcome", f"it is not one of {', '.join(GateOutcome)}")


def _record(row: ReportRow) -> ReportRecord:
    return ReportRecord(
        id=row.id,
        run_id=row.run_id,
        candidate_digest=row.candidate_digest,
        champion_digest=row.champion_digest,
        outcome=row.outcome,
        reason=row.reason,
        body=dict(row.body),
        created_at=row.created_at,
    )
