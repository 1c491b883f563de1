"""Which digest is the champion: promotion through the gate, rollback through nothing, both whole or absent.

It must not know who serves. Every state of the routing is a row; each points at the row below it on the promotion
stack, so rolling back twice goes back two promotions and never forward.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ratchet_adapters.registry import ledger
from ratchet_adapters.registry.errors import ChampionChanged, GateRefused, NothingToRollBack
from ratchet_adapters.registry.models import ReportRow, RoutingRow
from ratchet_adapters.registry.records import BASE, GateOutcome, Routing, RoutingChange

__all__ = ["changes", "current", "promote", "roll_back"]


def current(session: Session) -> Routing:
    """Return the routing as it is in this session."""
    return _record(session, _newest(session))


def changes(session: Session, after: int, upto: int) -> list[RoutingChange]:
    """Return what made each version over `after` and not over `upto`, in order."""
    rows = session.execute(
        select(RoutingRow.version, RoutingRow.report_id)
        .where(RoutingRow.version > after, RoutingRow.version <= upto)
        .order_by(RoutingRow.version)
    ).tuples()
    # Every promotion rests on a report, and no rollback does.
    return [RoutingChange(version, "promote" if report_id else "rollback") for version, report_id in rows]


def promote(session: Session, digest: str, expected: str | None, actor: str, reason: str) -> Routing:
    """Make a digest the champion.

    Promoting the present champion changes nothing, so that a caller who lost the answer may ask again.

    Raises:
        ChampionChanged: The champion is not `expected`.
        GateRefused: The newest report for it against the present champion is not a PASS.
    """
    now = _newest(session)
    if now.champion == digest:
        return _record(session, now)
    if expected is not None and now.champion != (wanted := "" if expected == BASE else expected):
        raise ChampionChanged(wanted, now.champion)
    report = session.scalars(
        select(ReportRow)
        .where(ReportRow.candidate_digest == digest, ReportRow.champion_digest == now.champion)
        .order_by(ReportRow.seq.desc())
        .limit(1)
    ).first()
    if report is None or report.outcome != GateOutcome.PASS:
        said, report_id = (report.outcome, report.id) if report else ("", "")
        raise GateRefused(digest, now.champion, said, report_id)
    row = _push(session, now, champion=digest, below=now.version, report_id=report.id)
    return _log(session, actor, "routing.promoted", reason, row)


def roll_back(session: Session, actor: str, reason: str) -> Routing:
    """Put the champion below on the promotion stack back. Needs no report.

    Raises:
        NothingToRollBack: The base model serves and nothing is below it.
    """
    now = _newest(session)
    if now.below is None:
        # Only the first state has nothing below it, and that is the base model.
        raise NothingToRollBack
    below = session.get_one(RoutingRow, now.below)
    row = _push(session, now, champion=below.champion, below=below.below, report_id="")
    return _log(session, actor, "routing.rolled_back", reason, row)


def _newest(session: Session) -> RoutingRow:
    return session.scalars(select(RoutingRow).order_by(RoutingRow.version.desc()).limit(1)).one()


def _push(session: Session, now: RoutingRow, *, champion: str, below: int | None, report_id: str) -> RoutingRow:
    row = RoutingRow(
        version=now.version + 1, champion=champion, below=below, report_id=report_id, changed_at=datetime.now(UTC)
    )
    session.add(row)
    session.flush()
    return row


def _log(session: Session, actor: str, kind: str, reason: str, row: RoutingRow) -> Routing:
    routing = _record(session, row)
    payload = {
        "version": routing.version, "champion": routing.champion, "previous": routing.previous,
        "report_id": row.report_id, "reason": reason,
    }  # fmt: skip
    ledger.append(session, actor, kind, payload)
    return routing


def _record(session: Session, row: RoutingRow) -> Routing:
    previous = "" if row.below is None else session.get_one(RoutingRow, row.below).champion
    return Routing(row.version, row.champion, previous, row.changed_at)
