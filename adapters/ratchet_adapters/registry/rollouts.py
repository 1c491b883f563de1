"""Rollouts: from a PASS over shadow and canary to champion and through probation, and every way out.

It must not know how figures are judged: whoever calls says which way it goes. Each call is part of one transaction.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.registry import policy as policies
from ratchet_adapters.registry import readiness, routing, stages
from ratchet_adapters.registry.errors import (
    AdapterNotFound,
    RolledBackOnEvidence,
    RolloutActive,
    RolloutNotFound,
)
from ratchet_adapters.registry.models import AdapterRow, ReportRow, RolloutRow
from ratchet_adapters.registry.plan import RolloutPlan
from ratchet_adapters.registry.policy import PromotionPolicy
from ratchet_adapters.registry.records import RolloutRecord, Routing
from ratchet_adapters.registry.routing import Split
from ratchet_adapters.registry.stages import Event

__all__ = ["active", "advance", "allowed", "begin", "expire", "get", "newest", "promote", "refuse", "roll_back", "row"]

_SPLITS = {"shadow": "shadow", "canary": "canary", "probation": "holdout"}
_EVENTS = {"shadow": Event.SHADOW, "canary": Event.CANARY}


def begin(
    session: Session, digest: str, plan: RolloutPlan, policy: PromotionPolicy, actor: str, reason: str
) -> RolloutRecord:
    """Begin the first step of a rollout.

    Raises:
        AdapterNotFound: It is the base model.
        RolloutActive: Another one is under way.
        GateRefused: The newest report for it against the present champion is not a PASS.
        RolledBackOnEvidence: A rollout on this very report ended badly.
        InvalidInput: It is the champion, or was never proven.
        PromotionFrozen, NotApproved: By policy.
    """
    row = session.get(AdapterRow, digest) if digest else None
    if row is None:
        raise AdapterNotFound(digest, "it is the base model alone, which is no adapter")
    if (other := _active(session)) is not None:
        raise RolloutActive(other.id, other.candidate)
    champion = routing.current(session).champion
    if champion == digest:
        raise InvalidInput("adapter", "it is the champion already")
    report = _trusted(session, digest)
    if row.proof is None:
        raise InvalidInput("adapter", "the engine has not proven it; load it first")
    policy.check_frozen(datetime.now(UTC))
    now = datetime.now(UTC)
    rollout = RolloutRow(
        id=uuid.uuid4().hex,
        seq=(session.scalar(select(func.max(RolloutRow.seq))) or 0) + 1,
        candidate=digest,
        champion=champion,
        report_id=report.id,
        plan=plan.model_dump(mode="json"),
        step=0,
        step_since=now,
        outcome="",
        reason="",
        requested_by=actor,
        started_at=now,
        ended_at=None,
    )
    if row.stage not in stages.TRANSITIONS[Event.SHADOW]:
        stages.move(session, digest, Event.PASS)
    _enter(session, rollout, 0, policy, actor, reason)
    session.add(rollout)
    session.flush()
    return _record(rollout)


def advance(
    session: Session, rollout_id: str, expected_step: int, policy: PromotionPolicy, actor: str, reason: str
) -> RolloutRecord:
    """End a step well: go on to the next one; after the last, the candidate is champion and the rollout completed.

    A caller that is behind (the rollout is over, or in another step than it believes) changes nothing.

    Raises:
        GateRefused: A newer report says otherwise.
        PromotionFrozen, NotApproved: By policy; ask again later.
    """
    rollout = row(session, rollout_id)
    if rollout.outcome or rollout.step != expected_step:
        return _record(rollout)
    plan = _plan(rollout)
    if rollout.step + 1 < len(plan.steps):
        _enter(session, rollout, rollout.step + 1, policy, actor, reason)
    elif plan.steps[rollout.step].kind == "probation":
        routing.share(session, actor, reason, moved={}, ended=_end(rollout, "completed", reason))
    else:
        policies.check(session, policy, rollout.candidate, rollout.report_id, rollout.requested_by)
        ended = _end(rollout, "completed", reason)
        routing.promote(session, rollout.candidate, actor, reason, moved={}, ended=ended, fleet=policy.fleet)
    return _record(rollout)


def expire(session: Session, rollout_id: str, expected_step: int, actor: str, reason: str) -> RolloutRecord:
    """End a rollout without an answer. A candidate leaves; a champion under probation stays, but not as a success."""
    rollout = row(session, rollout_id)
    if rollout.outcome or rollout.step != expected_step:
        return _record(rollout)
    probation = _plan(rollout).steps[rollout.step].kind == "probation"
    ended = _end(rollout, "inconclusive", reason)
    moved = {} if probation else stages.move(session, rollout.candidate, Event.EXPIRE)
    routing.share(session, actor, reason, moved=moved, ended=ended)
    return _record(rollout)


def roll_back(session: Session, actor: str, reason: str, *, evidence: str = "") -> Routing:
    """Take the newest thing out of service: the candidate of a rollout under way, else the champion.

    Args:
        session: The only writer's.
        actor: Who.
        reason: Why.
        evidence: Id of the rollout whose figures ask for it; when that one is over, nothing changes. "": somebody does.

    Raises:
        NothingToRollBack: The base model serves alone and nothing is below it.
    """
    rollout = _active(session)
    if evidence and (rollout is None or rollout.id != evidence):
        return routing.current(session)
    readiness.abandon_all(session, actor, "something was rolled back while servers were made ready")
    if rollout is None:
        return routing.put_back(session, actor, reason)
    probation = _plan(rollout).steps[rollout.step].kind == "probation"
    ended = _end(rollout, "rolled_back" if evidence else "withdrawn", reason)
    if probation:
        return routing.put_back(session, actor, reason, ended=ended)
    moved = stages.move(session, rollout.candidate, Event.ROLL_BACK)
    return routing.share(session, actor, reason, moved=moved, ended=ended)


def promote(
    session: Session,
    digest: str,
    expected: str | None,
    policy: PromotionPolicy,
    actor: str,
    reason: str,
    *,
    proven_by: str = "",
) -> Routing:
    """Make an adapter champion at once, without steps; a rollout under way is superseded.

    Promoting the present champion changes nothing, so that a caller who lost the answer may ask again.

    Raises:
        ChampionChanged: The champion is not `expected`.
        GateRefused: The newest report for it against the present champion is not a PASS.
        RolledBackOnEvidence: A rollout on this very report ended badly.
        PromotionFrozen, NotApproved: By policy.
        FleetNotReady, QuorumMissing: Too few servers can serve it, or not yet.
    """
    now = routing.current(session)
    if now.champion == digest:
        return now
    allowed(session, digest, expected, policy, actor)
    moved: dict[str, str] = {}
    ended = ("", "")
    if (rollout := _active(session)) is not None:
        probation = _plan(rollout).steps[rollout.step].kind == "probation"
        ended = _end(rollout, "superseded", f"{digest} was promoted at once by {actor}")
        if rollout.candidate != digest and not probation:
            moved = stages.move(session, rollout.candidate, Event.SUPERSEDE)
    return routing.promote(
        session, digest, actor, reason, moved=moved, ended=ended, fleet=policy.fleet, proven_by=proven_by
    )


def allowed(session: Session, digest: str, expected: str | None, policy: PromotionPolicy, actor: str) -> None:
    """Raise what `promote` would, the servers apart."""
    routing.expect(session, expected)
    policies.check(session, policy, digest, _trusted(session, digest).id, actor)


def refuse(session: Session, digest: str, report_id: str, actor: str) -> None:
    """End the rollout of a candidate of which a newer report is no PASS; its stage has moved already."""
    rollout = _active(session)
    if rollout is None or rollout.candidate != digest or _plan(rollout).steps[rollout.step].kind == "probation":
        return
    ended = _end(rollout, "rejected", f"report {report_id} is no PASS")
    routing.share(session, actor, rollout.reason, moved={}, ended=ended)


def active(session: Session) -> RolloutRecord | None:
    """Return the rollout under way."""
    row = _active(session)
    return None if row is None else _record(row)


def get(session: Session, rollout_id: str) -> RolloutRecord:
    """Return a rollout, or raise RolloutNotFound."""
    return _record(row(session, rollout_id))


def newest(session: Session, limit: int) -> list[RolloutRecord]:
    """Return the newest rollouts first."""
    return [_record(row) for row in session.scalars(select(RolloutRow).order_by(RolloutRow.seq.desc()).limit(limit))]


def _enter(session: Session, rollout: RolloutRow, index: int, policy: PromotionPolicy, actor: str, reason: str) -> None:
    plan = _plan(rollout)
    step = plan.steps[index]
    if step.kind != "shadow":
        policies.check(session, policy, rollout.candidate, rollout.report_id, rollout.requested_by)
    routing.passing(session, rollout.candidate)
    rollout.step, rollout.step_since = index, datetime.now(UTC)
    beside = rollout.champion if step.kind == "probation" else rollout.candidate
    split = Split(_SPLITS[step.kind], beside, step.share_bp, plan.sticky_by, rollout.id, index)
    if step.kind == "probation":
        routing.promote(session, rollout.candidate, actor, reason, beside=split, moved={}, fleet=policy.fleet)
    else:
        moved = stages.move(session, rollout.candidate, _EVENTS[step.kind])
        routing.share(session, actor, reason, beside=split, moved=moved)


def _trusted(session: Session, digest: str) -> ReportRow:
    """The passing report of a candidate, unless live traffic has spoken against it since."""
    report = routing.passing(session, digest)
    against = session.scalars(
        select(RolloutRow).where(
            RolloutRow.candidate == digest, RolloutRow.report_id == report.id, RolloutRow.outcome == "rolled_back"
        )
    ).first()
    if against is not None:
        raise RolledBackOnEvidence(digest, against.id, report.id)
    return report


def _end(rollout: RolloutRow, outcome: str, reason: str) -> tuple[str, str]:
    rollout.outcome, rollout.reason, rollout.ended_at = outcome, reason, datetime.now(UTC)
    return rollout.id, outcome


def _active(session: Session) -> RolloutRow | None:
    return session.scalars(select(RolloutRow).where(RolloutRow.outcome == "")).first()


def _plan(rollout: RolloutRow) -> RolloutPlan:
    return RolloutPlan.model_validate(rollout.plan)


def row(session: Session, rollout_id: str) -> RolloutRow:
    """Return a rollout's row, or raise RolloutNotFound."""
    found = session.get(RolloutRow, rollout_id) if "\0" not in rollout_id and rollout_id.isascii() else None
    if found is None:
        raise RolloutNotFound(rollout_id)
    return found


def _record(row: RolloutRow) -> RolloutRecord:
    return RolloutRecord(
        row.id, row.candidate, row.champion, row.report_id, dict(row.plan), row.step, row.step_since, row.outcome,
        row.reason, row.requested_by, row.started_at, row.ended_at,
    )  # fmt: skip
