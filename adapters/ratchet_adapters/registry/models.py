"""The registry's tables.

It must not know what may be written when: that is in the file of each noun. A change here needs a migration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Float, ForeignKey, Index, Integer, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ratchet_adapters.registry.columns import BigId, Instant, JsonText

__all__ = [
    "AdapterRow",
    "ApprovalRow",
    "ArmCountRow",
    "DatasetRow",
    "LedgerHeadRow",
    "LedgerRow",
    "ProposalRow",
    "ReadinessRow",
    "ReportRow",
    "RolloutRow",
    "RoutingRow",
    "RunRow",
    "ServerRow",
    "Table",
]


class Table(DeclarativeBase):
    """Base of every table in the database, with names for all constraints so that migrations can find them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class AdapterRow(Table):
    """An adapter and, once proven, its proof."""

    __tablename__ = "adapters"

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    name: Mapped[str] = mapped_column(Text)
    base_fingerprint: Mapped[str] = mapped_column(String(71))
    rank: Mapped[int] = mapped_column(Integer)
    alpha: Mapped[float] = mapped_column(Float(53))
    target_modules: Mapped[Any] = mapped_column(JsonText)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    run_id: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    proof: Mapped[Any | None] = mapped_column(JsonText)
    stage: Mapped[str] = mapped_column(String(16))


class RoutingRow(Table):
    """One state of the routing; rows are only ever added. `below` is the state a rollback from this one restores.

    `kind` is what made the row: promote, rollback or split. `split` is "", shadow, canary or holdout: how `beside`
    takes part, with `share_bp` hundredths of a percent of the requests, dealt out by `sticky_by`, in a step of a
    rollout. `decided_by` is the server whose transaction it was, "" for a process that is none.
    """

    __tablename__ = "routing"

    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    champion: Mapped[str] = mapped_column(String(71))
    below: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("routing.version"))
    report_id: Mapped[str] = mapped_column(String(64))
    changed_at: Mapped[datetime] = mapped_column(Instant)
    kind: Mapped[str] = mapped_column(String(16))
    split: Mapped[str] = mapped_column(String(16))
    beside: Mapped[str] = mapped_column(String(71))
    share_bp: Mapped[int] = mapped_column(Integer)
    sticky_by: Mapped[str] = mapped_column(String(16))
    rollout_id: Mapped[str] = mapped_column(String(64))
    step: Mapped[int] = mapped_column(Integer)
    decided_by: Mapped[str] = mapped_column(String(64))


class RunRow(Table):
    """A learning run."""

    __tablename__ = "runs"
    __table_args__ = (Index(None, "state", "seq"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    idempotency_key: Mapped[str | None] = mapped_column(String(64), unique=True)
    method: Mapped[str] = mapped_column(String(64))
    options: Mapped[Any] = mapped_column(JsonText)
    state: Mapped[str] = mapped_column(String(16))
    step: Mapped[str] = mapped_column(String(64))
    progress: Mapped[float] = mapped_column(Float(53))
    detail: Mapped[str] = mapped_column(Text)
    dataset_digest: Mapped[str] = mapped_column(String(71))
    adapter_digest: Mapped[str] = mapped_column(String(71))
    report_id: Mapped[str] = mapped_column(String(64))
    error: Mapped[str] = mapped_column(Text)
    requested_by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    updated_at: Mapped[datetime] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    curve: Mapped[Any] = mapped_column("losses", JsonText)
    promote_on_pass: Mapped[bool] = mapped_column(Boolean)


class ReportRow(Table):
    """A gate report. `seq` says which is newest: clocks of several machines do not."""

    __tablename__ = "reports"
    __table_args__ = (Index(None, "candidate_digest", "champion_digest", "seq"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    run_id: Mapped[str] = mapped_column(String(64), index=True)
    candidate_digest: Mapped[str] = mapped_column(String(71))
    champion_digest: Mapped[str] = mapped_column(String(71))
    outcome: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    body: Mapped[Any] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(Instant)


class DatasetRow(Table):
    """A dataset version and its lineage."""

    __tablename__ = "datasets"

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    run_id: Mapped[str] = mapped_column(String(64), index=True)
    flag_ids: Mapped[Any] = mapped_column(JsonText)
    counts: Mapped[Any] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(Instant)


class LedgerRow(Table):
    """One ledger entry, in exactly the text that was hashed."""

    __tablename__ = "ledger"

    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    time: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    payload: Mapped[str] = mapped_column(Text)
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class LedgerHeadRow(Table):
    """The newest entry's number and hash: without it, cutting off the ledger's end would go unseen."""

    __tablename__ = "ledger_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(String(64))


class RolloutRow(Table):
    """One rollout: the steps of its plan, the step it is in since when, and how it ended."""

    __tablename__ = "rollouts"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    candidate: Mapped[str] = mapped_column(String(71), index=True)
    champion: Mapped[str] = mapped_column(String(71))
    report_id: Mapped[str] = mapped_column(String(64))
    plan: Mapped[Any] = mapped_column(JsonText)
    step: Mapped[int] = mapped_column(Integer)
    step_since: Mapped[datetime] = mapped_column(Instant)
    outcome: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(Text)
    requested_by: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(Instant)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)


class ArmCountRow(Table):
    """What one server process has counted for one arm and metric in one step of a rollout, since the step began.

    Of a rollout dealt out by tenant also what each tenant showed first: `counted_by` is the tenant's key then, and the
    arm's name that of `tenants_of`.
    """

    __tablename__ = "arm_counts"

    rollout_id: Mapped[str] = mapped_column(String(64), ForeignKey("rollouts.id"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    arm: Mapped[str] = mapped_column(String(16), primary_key=True)
    metric: Mapped[str] = mapped_column(String(16), primary_key=True)
    counted_by: Mapped[str] = mapped_column(String(64), primary_key=True)
    trials: Mapped[int] = mapped_column(BigInteger)
    events: Mapped[int] = mapped_column(BigInteger)


class ApprovalRow(Table):
    """Somebody's approval of a promotion that rests on one report."""

    __tablename__ = "approvals"

    report_id: Mapped[str] = mapped_column(String(64), ForeignKey("reports.id"), primary_key=True)
    approver: Mapped[str] = mapped_column(String(128), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    approved_at: Mapped[datetime] = mapped_column(Instant)


class ServerRow(Table):
    """A server process: its state, and until when it is believed to be alive, by the database's clock."""

    __tablename__ = "servers"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    name: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16))
    why: Mapped[str] = mapped_column(Text)
    lease_until: Mapped[datetime] = mapped_column(Instant)
    registered_at: Mapped[datetime] = mapped_column(Instant)


class ProposalRow(Table):
    """A promotion that the servers are being made ready for. `outcome` is "", promoted or abandoned."""

    __tablename__ = "proposals"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    digest: Mapped[str] = mapped_column(String(71))
    server: Mapped[str] = mapped_column(String(64))
    proposed_by: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime] = mapped_column(Instant)
    outcome: Mapped[str] = mapped_column(String(16), index=True)
    why: Mapped[str] = mapped_column(Text)
    ended_at: Mapped[datetime | None] = mapped_column(Instant)


class ReadinessRow(Table):
    """What one server says of one adapter: loaded and proven, or why not."""

    __tablename__ = "readiness"

    digest: Mapped[str] = mapped_column(String(71), primary_key=True)
    server: Mapped[str] = mapped_column(String(64), primary_key=True)
    ready: Mapped[bool] = mapped_column(Boolean)
    why: Mapped[str] = mapped_column(Text)
    said_at: Mapped[datetime] = mapped_column(Instant)
