"""What servers count of the two arms of a rollout: absolute numbers per server process, so that writing again is safe.

It must not know how they are judged.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import column, func, select, table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ratchet_adapters.registry import checks
from ratchet_adapters.registry.columns import Instant
from ratchet_adapters.registry.models import ArmCountRow, RolloutRow
from ratchet_adapters.registry.records import ArmCount

__all__ = ["read", "write"]

_flags = table("flags", column("request_id"), column("kind"), column("source"), column("state"))
_exchanges = table("exchanges", column("request_id"), column("adapter_digest"), column("created_at", Instant()))


def write(session: Session, counted_by: str, counts: Sequence[ArmCount], *, on_sqlite: bool) -> None:
    """Store what one process has counted so far, in place of what it stored before."""
    checks.text(counted_by, "counted_by", longest=64, empty=False)
    if not counts:
        return
    insert = (sqlite.insert if on_sqlite else postgresql.insert)(ArmCountRow)
    upsert = insert.on_conflict_do_update(
        index_elements=["rollout_id", "step", "arm", "metric", "counted_by"],
        set_={"trials": insert.excluded.trials, "events": insert.excluded.events},
    )
    session.execute(
        upsert,
        [
            {
                "rollout_id": count.rollout_id, "step": count.step, "arm": count.arm, "metric": count.metric,
                "counted_by": counted_by, "trials": count.trials, "events": count.events,
            }
            for count in counts
        ],
    )  # fmt: skip


def read(session: Session, rollout: RolloutRow) -> list[ArmCount]:
    """Return the counts of a rollout's present step, summed over processes, complaints of users among them."""
    sums = session.execute(
        select(ArmCountRow.arm, ArmCountRow.metric, func.sum(ArmCountRow.trials), func.sum(ArmCountRow.events))
        .where(ArmCountRow.rollout_id == rollout.id, ArmCountRow.step == rollout.step)
        .group_by(ArmCountRow.arm, ArmCountRow.metric)
    ).tuples()
    counts = [ArmCount(rollout.id, rollout.step, arm, metric, int(n), int(s)) for arm, metric, n, s in sums]
    for arm, digest in (("control", rollout.champion), ("candidate", rollout.candidate)):
        served = next((c.trials for c in counts if (c.arm, c.metric) == (arm, "blocked")), 0)
        complaints = min(_complaints(session, digest, rollout), served)
        counts.append(ArmCount(rollout.id, rollout.step, arm, "complaint", served, complaints))
    return counts


def _complaints(session: Session, digest: str, rollout: RolloutRow) -> int:
    """Answers of one adapter since the step began that users say were refused without need; each counts once."""
    query = (
        select(func.count(func.distinct(_exchanges.c.request_id)))
        .select_from(_exchanges.join(_flags, _flags.c.request_id == _exchanges.c.request_id))
        .where(
            _flags.c.kind == "OVER_REFUSAL",
            _flags.c.source == "USER",
            _flags.c.state != "REJECTED",
            _exchanges.c.adapter_digest == digest,
            _exchanges.c.created_at >= rollout.step_since,
        )
    )
    return int(session.scalar(query) or 0)
