"""Rollouts: stages of adapters, who serves beside the champion, rollouts and their counts, approvals."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy.orm import Session

from ratchet_adapters.registry import ledger

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # Added in place, with defaults that stay: SQLite would have to copy a table, which its references forbid.
    op.add_column("adapters", _name("stage", 16, default="registered"))
    for column in (
        _name("kind", 16), _name("split", 16), _name("beside", 71), _number("share_bp"), _name("sticky_by", 16),
        _name("rollout_id", 64), _number("step"),
    ):  # fmt: skip
        op.add_column("routing", column)
    _tables()
    _fill()


def downgrade() -> None:
    """Undo."""
    for table in ("approvals", "arm_counts", "rollouts"):
        op.drop_table(table)
    for name in ("kind", "split", "beside", "share_bp", "sticky_by", "rollout_id", "step"):
        op.execute(f"ALTER TABLE routing DROP COLUMN {name}")
    op.execute("ALTER TABLE adapters DROP COLUMN stage")


def _name(name: str, length: int, default: str | None = "") -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False, server_default=default)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default="0")


def _plain(name: str, length: int) -> sa.Column[str]:
    return _name(name, length, default=None)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _tables() -> None:
    op.create_table(
        "rollouts",
        _plain("id", 64), _big("seq"), _plain("candidate", 71), _plain("champion", 71), _plain("report_id", 64),
        _text("plan"), sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("step_since", sa.DateTime(timezone=True), nullable=False), _plain("outcome", 16), _text("reason"),
        _text("requested_by"), sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_rollouts"),
        sa.UniqueConstraint("seq", name="uq_rollouts_seq"),
    )  # fmt: skip
    op.create_index("ix_rollouts_candidate", "rollouts", ["candidate"])
    op.create_table(
        "arm_counts",
        _plain("rollout_id", 64), sa.Column("step", sa.Integer(), nullable=False, autoincrement=False),
        _plain("arm", 16), _plain("metric", 16), _plain("counted_by", 64), _big("trials"), _big("events"),
        sa.PrimaryKeyConstraint("rollout_id", "step", "arm", "metric", "counted_by", name="pk_arm_counts"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name="fk_arm_counts_rollout_id_rollouts"),
    )  # fmt: skip
    op.create_table(
        "approvals",
        _plain("report_id", 64), _plain("approver", 128), _text("reason"),
        sa.Column("approved_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("report_id", "approver", name="pk_approvals"),
        sa.ForeignKeyConstraint(["report_id"], ["reports.id"], name="fk_approvals_report_id_reports"),
    )  # fmt: skip


def _fill() -> None:
    """Say of every promotion, rollback and adapter there is what it is, in the ledger too."""
    connection = op.get_bind()
    connection.execute(sa.text("UPDATE routing SET kind = 'promote' WHERE version > 0 AND report_id <> ''"))
    connection.execute(sa.text("UPDATE routing SET kind = 'rollback' WHERE version > 0 AND report_id = ''"))
    states = {row.version: row for row in connection.execute(sa.text("SELECT * FROM routing ORDER BY version"))}
    found: dict[str, str] = {}
    for row in connection.execute(sa.text("SELECT digest, proof FROM adapters")):
        proven = row.proof is not None and json.loads(row.proof) is not None
        found[row.digest] = "proven" if proven else "registered"
    for digest, outcome in connection.execute(
        sa.text("SELECT candidate_digest, outcome FROM reports WHERE champion_digest = :champion ORDER BY seq"),
        {"champion": states[max(states)].champion},
    ):
        if digest in found:
            found[digest] = {"PASS": "gated", "FAIL": "rejected"}.get(outcome, found[digest])
    champion = ""
    for row in list(states.values())[1:]:
        if row.champion != champion:
            found[champion] = "retired" if row.kind == "promote" else "rolled_back"
            champion = row.champion
            found[champion] = "champion"
    found.pop("", None)
    for digest, stage in found.items():
        connection.execute(sa.text("UPDATE adapters SET stage = :s WHERE digest = :d"), {"s": stage, "d": digest})
    if found:
        with Session(connection) as session:
            ledger.append(session, "migration", "adapters.staged", {"stages": found})
            session.flush()
