"""API keys, by the hashes of their secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "api_keys",
        _text("id", 12), _text("hash", 64), _text("name", 128), sa.Column("roles", sa.Text(), nullable=False),
        _text("tenant", 64), sa.Column("on_behalf", sa.Boolean(), nullable=False), _text("created_by", 128),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False), _time("expires_at"), _time("revoked_at"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )  # fmt: skip


def downgrade() -> None:
    """Undo."""
    op.drop_table("api_keys")


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=True)
