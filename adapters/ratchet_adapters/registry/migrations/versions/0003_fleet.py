"""Several servers: who they are, what each has proven, which promotions are being made ready, who decided what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # In place and with a default that stays, as in 0002.
    op.add_column("routing", sa.Column("decided_by", sa.String(64), nullable=False, server_default=""))
    op.create_index("ix_rollouts_outcome", "rollouts", ["outcome"])
    op.create_table(
        "servers",
        _name("id", 64), _seq(), _text("name"), _name("state", 16), _text("why"), _time("lease_until"),
        _time("registered_at"),
        sa.PrimaryKeyConstraint("id", name="pk_servers"),
    )  # fmt: skip
    op.create_table(
        "proposals",
        _name("id", 64), _seq(), _name("digest", 71), _name("server", 64), _text("proposed_by"), _text("reason"),
        _time("opened_at"), _name("outcome", 16), _text("why"), _time("ended_at", nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_proposals"),
        sa.UniqueConstraint("seq", name="uq_proposals_seq"),
    )  # fmt: skip
    op.create_index("ix_proposals_outcome", "proposals", ["outcome"])
    op.create_table(
        "readiness",
        _name("digest", 71), _name("server", 64), sa.Column("ready", sa.Boolean(), nullable=False), _text("why"),
        _time("said_at"),
        sa.PrimaryKeyConstraint("digest", "server", name="pk_readiness"),
    )  # fmt: skip


def downgrade() -> None:
    """Undo."""
    for table in ("readiness", "proposals", "servers"):
        op.drop_table(table)
    op.drop_index("ix_rollouts_outcome", "rollouts")
    op.execute("ALTER TABLE routing DROP COLUMN decided_by")


def _name(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", sa.BigInteger(), nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
