"""The two phases of a promotion: every server says whether it can serve the adapter, then the alias moves, once.

It must not know how a server finds out. The second phase is `agree`, inside the transaction that moves the alias:
there is no way to a new champion around it.
"""

from __future__ import annotations

import math
import uuid
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ratchet_adapters.registry import checks, ledger, servers
from ratchet_adapters.registry.channel import tell
from ratchet_adapters.registry.errors import FleetNotReady, QuorumMissing
from ratchet_adapters.registry.models import ProposalRow, ReadinessRow, RolloutRow, ServerRow
from ratchet_adapters.registry.policy import FleetPolicy
from ratchet_adapters.registry.records import ServerState, Wanted

__all__ = ["abandon", "abandon_all", "abandon_orphans", "agree", "answer", "orphans", "propose", "retract", "wanted"]


def propose(session: Session, digest: str, server: str, actor: str, reason: str) -> str:
    """Ask all servers to make an adapter ready; return the proposal's id.

    One that is open for it already is taken over, with what has been answered: a promotion whose server was killed is
    carried on by whoever is asked next.
    """
    row = session.scalars(
        select(ProposalRow).where(ProposalRow.outcome == "", ProposalRow.digest == digest).limit(1)
    ).first()
    if row is not None:
        row.server = server
        ledger.append(session, actor, "fleet.promotion_taken_over", {"proposal": row.id, "digest": digest})
        return row.id
    session.execute(delete(ReadinessRow).where(ReadinessRow.digest == digest))
    now = servers.clock(session)
    row = ProposalRow(
        id=uuid.uuid4().hex,
        seq=(session.scalar(select(func.max(ProposalRow.seq))) or 0) + 1,
        digest=digest,
        server=server,
        proposed_by=actor,
        reason=reason,
        opened_at=now,
        outcome="",
        why="",
        ended_at=None,
    )
    session.add(row)
    _say(session, digest, server, now, ready=True, why="")
    present, _ = servers.live(session)
    payload = {
        "proposal": row.id, "digest": digest, "reason": reason, "servers": {each.id: each.name for each in present},
    }  # fmt: skip
    ledger.append(session, actor, "fleet.promotion_proposed", payload)
    tell(session)
    return row.id


def wanted(session: Session, server: str) -> list[Wanted]:
    """Return what servers shall have ready, and what one of them has said of it: what is proposed, and the candidate
    of a rollout under way."""
    found = []
    for digest, since in _since(session).items():
        row = session.get(ReadinessRow, (digest, server))
        found.append(Wanted(digest, None if row is None or not _counts(row, since) else row.ready))
    return found


def answer(session: Session, digest: str, server: str, *, ready: bool, why: str) -> None:
    """Say for one server whether it has loaded and proven an adapter, or why it cannot."""
    _say(session, digest, server, servers.clock(session), ready=ready, why=why)
    tell(session)


def retract(session: Session, digest: str, server: str) -> None:
    """Take a server's answer back: it has to find out again."""
    session.execute(delete(ReadinessRow).where(ReadinessRow.digest == digest, ReadinessRow.server == server))


def agree(session: Session, policy: FleetPolicy, digest: str, *, proven_by: str) -> dict[str, Any]:
    """Let a promotion through when every server that takes traffic can serve it, or enough of them do.

    The others stop taking traffic in the same transaction. One whose lease has run out is not waited for.

    Args:
        session: The only writer's.
        policy: How many are enough.
        digest: What shall be champion.
        proven_by: A server that vouches for itself, having proven it a moment ago; "" for none.

    Returns:
        What happened, for the ledger; empty when no server is known.

    Raises:
        FleetNotReady: Some have not answered yet and still have time; nothing was changed.
        QuorumMissing: Too few can serve it; nothing was changed.
    """
    present, lost = servers.live(session)
    since = _since(session).get(digest)
    answers = _answers(session, digest, since)
    ready = [row for row in present if row.id == proven_by or answers.get(row.id, (False, ""))[0]]
    unable = {row.id: answers[row.id][1] for row in present if row not in ready and row.id in answers}
    silent = [row for row in present if row not in ready and row.id not in unable]
    enough = math.ceil(policy.quorum * len(present) - 1e-9)
    late = since is not None and servers.clock(session) > since + timedelta(seconds=policy.answer_seconds)
    if silent and not late and len(ready) + len(silent) >= enough:
        raise FleetNotReady(digest, ", ".join(row.name for row in silent))
    late_why = f"no answer within {policy.answer_seconds:g} s"
    whys = {row.id: unable.get(row.id, late_why) for row in present if row not in ready}
    if len(ready) < enough:
        names = {row.id: row.name for row in present}
        said = "; ".join(f"{names[server]}: {why}" for server, why in whys.items())
        raise QuorumMissing(digest, len(ready), len(present), enough, said)
    _take_out(present, whys, lost)
    _close(session, digest, "promoted", "")
    session.execute(delete(ReadinessRow).where(ReadinessRow.digest == digest))
    if not present and not lost:
        return {}
    return {"ready": [row.id for row in ready], "drained": whys, "lost": [row.id for row in lost]}


def abandon(session: Session, proposal: str, server: str, why: str) -> None:
    """End a proposal without a promotion, unless it has ended or another server has taken it over."""
    row = session.get(ProposalRow, proposal)
    if row is not None and not row.outcome and row.server == server:
        _abandon(session, row, server, why)


def abandon_all(session: Session, actor: str, why: str) -> None:
    """End every proposal: whoever rolls back wants nothing new now."""
    for row in session.scalars(select(ProposalRow).where(ProposalRow.outcome == "")).all():
        _abandon(session, row, actor, why)


def orphans(session: Session, policy: FleetPolicy) -> list[ProposalRow]:
    """Return the open proposals whose server is gone and which nobody has taken over within the time for answers."""
    now = servers.clock(session)
    late = now - timedelta(seconds=policy.answer_seconds)
    rows = session.scalars(select(ProposalRow).where(ProposalRow.outcome == "", ProposalRow.opened_at < late)).all()
    owners = {row.id: session.get(ServerRow, row.server) for row in rows}
    return [row for row in rows if (owner := owners[row.id]) is None or owner.lease_until < now]


def abandon_orphans(session: Session, policy: FleetPolicy, actor: str) -> None:
    """End the orphans."""
    for row in orphans(session, policy):
        _abandon(session, row, actor, "the server that asked for it is gone, and nobody asked again")


def _take_out(present: list[ServerRow], drained: dict[str, str], lost: list[ServerRow]) -> None:
    for row in present:
        if row.id in drained:
            row.state, row.why = ServerState.DRAINED, drained[row.id]
    for row in lost:
        row.state, row.why = ServerState.LOST, "its lease ran out"


def _since(session: Session) -> dict[str, datetime]:
    """Digest -> since when servers are asked to have it ready."""
    rollout = session.scalars(select(RolloutRow).where(RolloutRow.outcome == "").limit(1)).first()
    found = {} if rollout is None else {rollout.candidate: rollout.step_since}
    rows = session.scalars(select(ProposalRow).where(ProposalRow.outcome == "").order_by(ProposalRow.seq))
    return found | {row.digest: row.opened_at for row in rows}


def _answers(session: Session, digest: str, since: datetime | None) -> dict[str, tuple[bool, str]]:
    if since is None:
        return {}
    rows = session.scalars(select(ReadinessRow).where(ReadinessRow.digest == digest))
    return {row.server: (row.ready, row.why) for row in rows if _counts(row, since)}


def _counts(row: ReadinessRow, since: datetime) -> bool:
    # A refusal of before the adapter was asked for is no answer: the server tries again.
    return row.ready or row.said_at >= since


def _abandon(session: Session, row: ProposalRow, actor: str, why: str) -> None:
    row.outcome, row.why, row.ended_at = "abandoned", why, servers.clock(session)
    session.execute(delete(ReadinessRow).where(ReadinessRow.digest == row.digest))
    payload = {"proposal": row.id, "digest": row.digest, "why": why}
    ledger.append(session, actor, "fleet.promotion_abandoned", payload)


def _close(session: Session, digest: str, outcome: str, why: str) -> None:
    query = select(ProposalRow).where(ProposalRow.outcome == "", ProposalRow.digest == digest)
    for row in session.scalars(query).all():
        row.outcome, row.why, row.ended_at = outcome, why, servers.clock(session)


def _say(session: Session, digest: str, server: str, now: datetime, *, ready: bool, why: str) -> None:
    said = checks.text(why.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()[:1000], "why")
    row = session.get(ReadinessRow, (digest, server))
    if row is None:
        session.add(ReadinessRow(digest=digest, server=server, ready=ready, why=said, said_at=now))
    else:
        row.ready, row.why, row.said_at = ready, said, now
