"""Which digest is the champion and what answers beside it: every change whole or absent.

It must not know who serves. Every state of the routing is a row; each points at the row below it on the promotion
stack, so rolling back twice goes back two promotions and never forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from ratchet_adapters.registry import ledger, readiness, stages
from ratchet_adapters.registry.channel import tell
from ratchet_adapters.registry.errors import ChampionChanged, GateRefused, NothingToRollBack
from ratchet_adapters.registry.models import AdapterRow, ReportRow, RoutingRow
from ratchet_adapters.registry.policy import FleetPolicy
from ratchet_adapters.registry.records import BASE, GateOutcome, Routing, RoutingChange
from ratchet_adapters.registry.stages import Event

__all__ = [
    "Split",
    "changes",
    "current",
    "expect",
    "newest_report",
    "passing",
    "promote",
    "put_back",
    "share",
]


@dataclass(frozen=True, slots=True)
class Split:
    """Who takes part beside the champion; see `Routing`."""

    split: str
    beside: str
    share_bp: int
    sticky_by: str
    rollout_id: str
    step: int


_NOBODY = Split("", "", 0, "", "", 0)


def current(session: Session) -> Routing:
    """Return the routing as it is in this session."""
    return _record(session, _newest(session))


def changes(session: Session, after: int, upto: int) -> list[RoutingChange]:
    """Return what made each version over `after` and not over `upto`, in order."""
    rows = session.execute(
        select(RoutingRow.version, RoutingRow.kind, RoutingRow.decided_by)
        .where(RoutingRow.version > after, RoutingRow.version <= upto)
        .order_by(RoutingRow.version)
    ).tuples()
    return [
        RoutingChange(version, cast("Literal['promote', 'rollback', 'split']", kind), decided_by)
        for version, kind, decided_by in rows
    ]


def newest_report(session: Session, digest: str, champion: str) -> ReportRow | None:
    """Return the newest report for a candidate against a champion."""
    return session.scalars(
        select(ReportRow)
        .where(ReportRow.candidate_digest == digest, ReportRow.champion_digest == champion)
        .order_by(ReportRow.seq.desc())
        .limit(1)
    ).first()


def passing(session: Session, digest: str) -> ReportRow:
    """Return the newest report of a candidate against the present champion, which must be a PASS.

    Raises:
        GateRefused: It is not, or there is none.
    """
    champion = _newest(session).champion
    report = newest_report(session, digest, champion)
    if report is None or report.outcome != GateOutcome.PASS:
        said, report_id = (report.outcome, report.id) if report else ("", "")
        raise GateRefused(digest, champion, said, report_id)
    return report


def expect(session: Session, expected: str | None) -> None:
    """Raise ChampionChanged unless the champion is `expected` ("" or "base": the base model; None: any)."""
    champion = _newest(session).champion
    if expected is not None and champion != (wanted := "" if expected == BASE else expected):
        raise ChampionChanged(wanted, champion)


def promote(
    session: Session,
    digest: str,
    actor: str,
    reason: str,
    *,
    beside: Split = _NOBODY,
    moved: dict[str, str],
    ended: tuple[str, str] = ("", ""),
    fleet: FleetPolicy,
    proven_by: str = "",
) -> Routing:
    """Make a digest the champion on the strength of its report, when the servers can serve it.

    Args:
        session: The only writer's.
        digest: The candidate.
        actor: Who.
        reason: Why.
        beside: Who keeps a share.
        moved: Stages that moved on the way, for the ledger entry.
        ended: The rollout that ends with it and how, for the ledger entry.
        fleet: How many servers must be able to serve it.
        proven_by: A server that vouches for itself.

    Raises:
        GateRefused: The newest report for it against the present champion is not a PASS.
        FleetNotReady, QuorumMissing: From `readiness.agree`.
    """
    report, now = passing(session, digest), _newest(session)
    agreed = readiness.agree(session, fleet, digest, proven_by=proven_by)
    if _stage(session, digest) not in stages.TRANSITIONS[Event.PROMOTE]:
        # Retired or rolled back since, with a report that still stands.
        stages.move(session, digest, Event.PASS)
    moved = {**moved, **stages.move(session, digest, Event.PROMOTE), **stages.move(session, now.champion, Event.RETIRE)}
    row = _push(session, now, "promote", beside, champion=digest, below=now.version, report_id=report.id)
    return _log(session, actor, "routing.promoted", reason, row, moved, ended=ended, fleet=agreed)


def put_back(session: Session, actor: str, reason: str, *, ended: tuple[str, str] = ("", "")) -> Routing:
    """Put the champion below on the promotion stack back, alone. Needs no report.

    Raises:
        NothingToRollBack: The base model serves and nothing is below it.
    """
    now = _newest(session)
    if now.below is None:
        # Only the first state has nothing below it, and that is the base model.
        raise NothingToRollBack
    below = session.get_one(RoutingRow, now.below)
    moved = stages.move(session, now.champion, Event.ROLL_BACK)
    moved |= stages.move(session, below.champion, Event.RESTORE)
    row = _push(session, now, "rollback", _NOBODY, champion=below.champion, below=below.below, report_id="")
    return _log(session, actor, "routing.rolled_back", reason, row, moved, ended=ended)


def share(
    session: Session,
    actor: str,
    reason: str,
    *,
    beside: Split = _NOBODY,
    moved: dict[str, str],
    ended: tuple[str, str] = ("", ""),
) -> Routing:
    """Change who takes part beside the champion; the champion and the way back stay."""
    now = _newest(session)
    row = _push(session, now, "split", beside, champion=now.champion, below=now.below, report_id="")
    return _log(session, actor, "routing.split", reason, row, moved, ended=ended)


def _stage(session: Session, digest: str) -> str:
    return session.get_one(AdapterRow, digest).stage


def _newest(session: Session) -> RoutingRow:
    return session.scalars(select(RoutingRow).order_by(RoutingRow.version.desc()).limit(1)).one()


def _push(
    session: Session, now: RoutingRow, kind: str, beside: Split, *, champion: str, below: int | None, report_id: str
) -> RoutingRow:
    row = RoutingRow(
        version=now.version + 1,
        champion=champion,
        below=below,
        report_id=report_id,
        changed_at=datetime.now(UTC),
        kind=kind,
        split=beside.split,
        beside=beside.beside,
        share_bp=beside.share_bp,
        sticky_by=beside.sticky_by,
        rollout_id=beside.rollout_id,
        step=beside.step,
        decided_by=session.info.get("decider", ""),
    )
    session.add(row)
    session.flush()
    tell(session, row.version)
    return row


def _log(
    session: Session,
    actor: str,
    kind: str,
    reason: str,
    row: RoutingRow,
    moved: dict[str, str],
    *,
    ended: tuple[str, str],
    fleet: dict[str, Any] | None = None,
) -> Routing:
    routing = _record(session, row)
    payload: dict[str, Any] = {
        "version": routing.version, "champion": routing.champion, "previous": routing.previous,
        "report_id": row.report_id, "reason": reason, "stages": moved,
    }  # fmt: skip
    if row.split:
        payload["beside"] = ledger.beside_json(row)
    if ended[1]:
        payload["rollout"] = {"id": ended[0], "outcome": ended[1]}
    if fleet:
        payload["fleet"] = fleet
    ledger.append(session, actor, kind, payload)
    return routing


def _record(session: Session, row: RoutingRow) -> Routing:
    previous = "" if row.below is None else session.get_one(RoutingRow, row.below).champion
    return Routing(
        row.version, row.champion, previous, row.changed_at, row.split, row.beside, row.share_bp, row.sticky_by,
        row.rollout_id, row.step,
    )  # fmt: skip
