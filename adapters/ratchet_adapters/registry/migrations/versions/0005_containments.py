"""Containments: accepted flags whose repeats are blocked until an adapter covers them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "containments",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("flag_id", sa.String(64), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("tenant", sa.String(64), nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("contained_by", sa.String(128), nullable=False),
        sa.Column("flagged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("contained_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_blocked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("covered_by", sa.String(71), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_containments"),
        sa.ForeignKeyConstraint(["flag_id"], ["flags.id"], name="fk_containments_flag_id_flags"),
    )
    op.create_index("ix_containments_expires_at", "containments", ["expires_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("containments")
