"""Learning runs: created once per idempotency key, claimed once, changed until they end.

It must not know what a run does.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.registry import checks, ledger
from ratchet_adapters.registry.errors import IdempotencyConflict, RunEnded, RunNotFound
from ratchet_adapters.registry.models import RunRow
from ratchet_adapters.registry.records import CurvePoint, RunRecord, RunState

__all__ = ["claim_next", "create", "get", "newest", "update"]

# Changes of these are told in the ledger; progress, detail and the curve are not state.
_AUDITED = ("state", "step", "dataset_digest", "adapter_digest", "report_id", "error")


def create(
    session: Session,
    *,
    method: str,
    options: Mapping[str, Any],
    requested_by: str,
    promote_on_pass: bool,
    idempotency_key: str,
) -> RunRecord:
    """Queue a run, or return the one made with the same key and parameters."""
    checks.text(method, "method", longest=64, empty=False)
    checks.text(requested_by, "requested_by", longest=128)
    checks.text(idempotency_key, "idempotency_key", longest=64)
    wanted = checks.json_object(options, "options")
    if idempotency_key:
        known = session.scalars(select(RunRow).where(RunRow.idempotency_key == idempotency_key)).first()
        if known is not None:
            if (known.method, known.options, known.promote_on_pass) != (method, wanted, promote_on_pass):
                raise IdempotencyConflict(idempotency_key, known.id)
            return _record(known)
    now = datetime.now(UTC)
    row = RunRow(
        id=uuid.uuid4().hex,
        seq=(session.scalar(select(func.max(RunRow.seq))) or 0) + 1,
        idempotency_key=idempotency_key or None,
        method=method,
        options=wanted,
        state=RunState.QUEUED,
        step="",
        progress=0.0,
        detail="",
        dataset_digest="",
        adapter_digest="",
        report_id="",
        error="",
        requested_by=requested_by,
        created_at=now,
        updated_at=now,
        ended_at=None,
        curve=[],
        promote_on_pass=promote_on_pass,
    )
    session.add(row)
    payload = {"run_id": row.id, "method": method, "options": wanted, "promote_on_pass": promote_on_pass}
    ledger.append(session, requested_by, "run.created", payload)
    return _record(row)


def claim_next(session: Session, actor: str) -> RunRecord | None:
    """Take the oldest queued run: it becomes RUNNING, and no other caller gets it."""
    row = session.scalars(select(RunRow).where(RunRow.state == RunState.QUEUED).order_by(RunRow.seq).limit(1)).first()
    if row is None:
        return None
    row.state, row.updated_at = RunState.RUNNING, datetime.now(UTC)
    ledger.append(session, actor, "run.claimed", {"run_id": row.id})
    return _record(row)


def get(session: Session, run_id: str) -> RunRecord:
    """Return a run."""
    return _record(_row(session, run_id))


def newest(session: Session, limit: int) -> list[RunRecord]:
    """Return the newest runs first."""
    return [_record(row) for row in session.scalars(select(RunRow).order_by(RunRow.seq.desc()).limit(limit))]


def update(session: Session, run_id: str, fields: Mapping[str, Any], actor: str) -> RunRecord:
    """Change fields of a run that has not ended; the end is final, but saying it again is allowed."""
    changes = {name: _checked(name, value) for name, value in fields.items()}
    row = _row(session, run_id)
    changes = {name: value for name, value in changes.items() if getattr(row, name) != value}
    if not changes:
        return _record(row)
    if RunState(row.state).final:
        raise RunEnded(row.id, row.state)
    if changes.get("state") == RunState.QUEUED:
        raise InvalidInput("state", "a run that was taken up is not queued again")
    for name, value in changes.items():
        setattr(row, name, value)
    row.updated_at = datetime.now(UTC)
    if RunState(row.state).final:
        row.ended_at = row.updated_at
    audited = {name: changes[name] for name in _AUDITED if name in changes}
    if audited:
        ledger.append(session, actor, "run.changed", {"run_id": row.id, **audited})
    return _record(row)


def _checked(name: str, value: Any) -> Any:
    if name == "state":
        if value not in set(RunState):
            raise InvalidInput("state", f"it is not one of {', '.join(RunState)}")
        return str(value)
    if name in {"dataset_digest", "adapter_digest"}:
        return checks.digest(value, name, base=True)
    if name in {"step", "report_id"}:
        return checks.text(value, name, longest=64)
    if name in {"detail", "error"}:
        # Exception texts can hold anything; an unstorable one must not hide the failure it tells of.
        return checks.text(str(value).replace("\0", "\\0").encode("utf-8", "backslashreplace").decode(), name)
    if name == "progress":
        progress = checks.number(value, name)
        if not 0 <= progress <= 1:
            raise InvalidInput(name, "it is not in [0, 1]")
        return progress
    if name == "curve":
        return _curve_json(value)
    raise InvalidInput(name[:64], "it is no field of a run that can be changed")


def _curve_json(curve: Iterable[CurvePoint]) -> list[list[Any]]:
    try:
        points = [
            (int(step), float(loss), {str(name): float(value) for name, value in metrics.items()})
            for step, loss, metrics in curve
        ]
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InvalidInput("curve", "it is not a list of (step, loss, metrics)") from error
    return [
        [step, _storable(loss), {name: _storable(value) for name, value in metrics.items()}]
        for step, loss, metrics in points
    ]


def _storable(number: float) -> float | str:
    # A diverged run has NaN losses, and they are worth seeing; JSON has no NaN, so they are kept as text.
    return number if math.isfinite(number) else repr(number)


def _row(session: Session, run_id: str) -> RunRow:
    row = session.get(RunRow, run_id) if "\0" not in run_id and run_id.isascii() else None
    if row is None:
        raise RunNotFound(run_id)
    return row


def _record(row: RunRow) -> RunRecord:
    return RunRecord(
        id=row.id,
        method=row.method,
        options=dict(row.options),
        state=str(row.state),
        step=row.step,
        progress=row.progress,
        detail=row.detail,
        dataset_digest=row.dataset_digest,
        adapter_digest=row.adapter_digest,
        report_id=row.report_id,
        error=row.error,
        requested_by=row.requested_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        ended_at=row.ended_at,
        curve=tuple(
            # Runs of before metrics were kept have only the first two.
            CurvePoint(int(step), float(loss), {name: float(value) for name, value in dict(*metrics).items()})
            for step, loss, *metrics in row.curve
        ),
        promote_on_pass=row.promote_on_pass,
    )
