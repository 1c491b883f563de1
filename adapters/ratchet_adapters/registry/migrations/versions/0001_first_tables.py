"""The first tables: adapters, routing, runs, reports, datasets, ledger, exchanges, flags."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from ratchet_adapters.registry.columns import Instant

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _adapters_and_routing()
    _learning()
    _ledger()
    _traffic()


def downgrade() -> None:
    """Undo."""
    tables = ("flags", "exchanges", "ledger_head", "ledger", "datasets", "reports", "runs", "routing", "adapters")
    for table in tables:
        op.drop_table(table)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _name(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", sa.BigInteger(), nullable=False)


def _adapters_and_routing() -> None:
    op.create_table(
        "adapters",
        _name("digest", 71), _seq(), _text("name"), _name("base_fingerprint", 71),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("alpha", sa.Float(53), nullable=False),
        _text("target_modules"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        _name("run_id", 64), _text("created_by"), _time("created_at"),
        sa.Column("proof", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name="pk_adapters"),
        sa.UniqueConstraint("seq", name="uq_adapters_seq"),
    )  # fmt: skip
    routing = op.create_table(
        "routing",
        sa.Column("version", sa.BigInteger(), nullable=False, autoincrement=False),
        _name("champion", 71),
        sa.Column("below", sa.BigInteger(), nullable=True),
        _name("report_id", 64), _time("changed_at"),
        sa.PrimaryKeyConstraint("version", name="pk_routing"),
        sa.ForeignKeyConstraint(["below"], ["routing.version"], name="fk_routing_below"),
    )  # fmt: skip
    # The bottom of the promotion stack: the base model alone.
    changed_at = sa.literal(datetime.now(UTC), Instant())
    op.execute(routing.insert().values(version=0, champion="", below=None, report_id="", changed_at=changed_at))


def _learning() -> None:
    op.create_table(
        "runs",
        _name("id", 64), _seq(),
        sa.Column("idempotency_key", sa.String(64), nullable=True),
        _name("method", 64), _text("options"), _name("state", 16), _name("step", 64),
        sa.Column("progress", sa.Float(53), nullable=False),
        _text("detail"), _name("dataset_digest", 71), _name("adapter_digest", 71), _name("report_id", 64),
        _text("error"), _text("requested_by"), _time("created_at"), _time("updated_at"),
        _time("ended_at", nullable=True), _text("losses"),
        sa.Column("promote_on_pass", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("seq", name="uq_runs_seq"),
        sa.UniqueConstraint("idempotency_key", name="uq_runs_idempotency_key"),
    )  # fmt: skip
    op.create_index("ix_runs_state_seq", "runs", ["state", "seq"])
    op.create_table(
        "reports",
        _name("id", 64), _seq(), _name("run_id", 64), _name("candidate_digest", 71), _name("champion_digest", 71),
        _name("outcome", 16), _text("reason"), _text("body"), _time("created_at"),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
        sa.UniqueConstraint("seq", name="uq_reports_seq"),
    )  # fmt: skip
    op.create_index("ix_reports_run_id", "reports", ["run_id"])
    pair = ["candidate_digest", "champion_digest", "seq"]
    op.create_index("ix_reports_candidate_digest_champion_digest_seq", "reports", pair)
    op.create_table(
        "datasets",
        _name("digest", 71), _name("run_id", 64), _text("flag_ids"), _text("counts"), _time("created_at"),
        sa.PrimaryKeyConstraint("digest", name="pk_datasets"),
    )  # fmt: skip
    op.create_index("ix_datasets_run_id", "datasets", ["run_id"])


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=False),
        _text("time"), _text("actor"), _text("kind"), _text("payload"), _name("previous_hash", 64), _name("hash", 64),
        sa.PrimaryKeyConstraint("seq", name="pk_ledger"),
    )  # fmt: skip
    op.create_table(
        "ledger_head",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False), _seq(), _name("hash", 64),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_head"),
    )  # fmt: skip


def _traffic() -> None:
    op.create_table(
        "exchanges",
        _name("request_id", 64), _text("messages"), _text("completion"), _name("adapter_digest", 71),
        _name("tenant", 64), _name("principal", 128), _text("scores"), _text("verdicts"), _name("finish_reason", 64),
        _time("created_at"),
        sa.PrimaryKeyConstraint("request_id", name="pk_exchanges"),
    )  # fmt: skip
    op.create_index("ix_exchanges_created_at", "exchanges", ["created_at"])
    op.create_table(
        "flags",
        _name("id", 64), _seq(), _name("kind", 16), _name("source", 16), _name("state", 16), _text("messages"),
        _text("completion"), _name("adapter_digest", 71), _name("request_id", 64), _name("tenant", 64),
        _name("principal", 128), _text("note"), _text("scores"), _name("reviewer", 128), _text("review_note"),
        _time("created_at"), _time("reviewed_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_flags"),
        sa.UniqueConstraint("seq", name="uq_flags_seq"),
    )  # fmt: skip
    op.create_index("ix_flags_request_id", "flags", ["request_id"])
    op.create_index("ix_flags_state_seq", "flags", ["state", "seq"])
