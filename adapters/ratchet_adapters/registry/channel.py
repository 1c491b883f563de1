"""How everybody on one PostgreSQL hears of a change when it is committed; SQLite tells nobody.

It must not know what the changes are.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

__all__ = ["CHANNEL", "tell"]

CHANNEL = "ratchet_routing"


def tell(session: Session, version: int = 0) -> None:
    """Tell of a new version of the routing, or with 0 of something else to look at, when and only when it commits."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_notify(:channel, :version)"), {"channel": CHANNEL, "version": str(version)})
