"""What servers count of the two arms of a rollout: absolute numbers per server process, so that writing again is safe.

Of a rollout dealt out by tenant, what the first request of each tenant showed is kept besides: a tenant is one trial,
however many requests it sends and servers it sends them to.

It must not know how they are judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, column, func, select, table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ratchet_adapters.registry import checks
from ratchet_adapters.registry.columns import Instant
from ratchet_adapters.registry.models import ArmCountRow, RolloutRow
from ratchet_adapters.registry.records import ArmCount

__all__ = ["read", "tenants_of", "write", "write_tenants"]

_flags = table("flags", column("request_id"), column("kind"), column("source"), column("state"))
_exchanges = table(
    "exchanges", column("request_id"), column("adapter_digest"), column("tenant"), column("created_at", Instant())
)

_KEY = ["rollout_id", "step", "arm", "metric", "counted_by"]


def write(session: Session, counted_by: str, counts: Sequence[ArmCount], *, on_sqlite: bool) -> None:
    """Store what one process has counted so far, in place of what it stored before."""
    checks.text(counted_by, "counted_by", longest=64, empty=False)
    if not counts:
        return
    insert = (sqlite.insert if on_sqlite else postgresql.insert)(ArmCountRow)
    upsert = insert.on_conflict_do_update(
        index_elements=_KEY, set_={"trials": insert.excluded.trials, "events": insert.excluded.events}
    )
    session.execute(upsert, [_values(count, counted_by) for count in counts])


def tenants_of(arm: str) -> str:
    """Return the name under which an arm's tenants are counted, each of them once."""
    return f"{arm} tenants"


def write_tenants(session: Session, firsts: Sequence[tuple[str, ArmCount]], *, on_sqlite: bool) -> None:
    """Store what tenants showed first, by their keys; of a tenant that is known already nothing changes."""
    if not firsts:
        return
    insert = (sqlite.insert if on_sqlite else postgresql.insert)(ArmCountRow)
    session.execute(
        insert.on_conflict_do_nothing(index_elements=_KEY),
        [_values(replace(count, arm=tenants_of(count.arm)), tenant) for tenant, count in firsts],
    )


def read(session: Session, rollout: RolloutRow) -> list[ArmCount]:
    """Return the counts of a rollout's present step, summed over processes, complaints of users among them."""
    sums = session.execute(
        select(ArmCountRow.arm, ArmCountRow.metric, func.sum(ArmCountRow.trials), func.sum(ArmCountRow.events))
        .where(ArmCountRow.rollout_id == rollout.id, ArmCountRow.step == rollout.step)
        .group_by(ArmCountRow.arm, ArmCountRow.metric)
    ).tuples()
    counts = [ArmCount(rollout.id, rollout.step, arm, metric, int(n), int(s)) for arm, metric, n, s in sums]
    for arm, digest in (("control", rollout.champion), ("candidate", rollout.candidate)):
        for name, of in ((arm, _exchanges.c.request_id), (tenants_of(arm), func.nullif(_exchanges.c.tenant, ""))):
            served = next((c.trials for c in counts if (c.arm, c.metric) == (name, "blocked")), 0)
            if served or name == arm:
                complaints = min(_complaints(session, digest, rollout, of), served)
                counts.append(ArmCount(rollout.id, rollout.step, name, "complaint", served, complaints))
    return counts


def _values(count: ArmCount, counted_by: str) -> dict[str, str | int]:
    return {
        "rollout_id": count.rollout_id, "step": count.step, "arm": count.arm, "metric": count.metric,
        "counted_by": counted_by, "trials": count.trials, "events": count.events,
    }  # fmt: skip


def _complaints(session: Session, digest: str, rollout: RolloutRow, of: ColumnElement[str]) -> int:
    """Answers of one adapter since the step began that users say were refused without need, or their tenants."""
    query = (
        select(func.count(func.distinct(of)))
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
