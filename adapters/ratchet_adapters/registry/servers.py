"""The servers on one database: who is believed to be alive, and which of them take traffic.

It must not know adapters' files or engines. Time is the database's own, so that the clocks of machines may differ.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from ratchet_adapters.registry import ledger
from ratchet_adapters.registry.models import ReadinessRow, RoutingRow, ServerRow
from ratchet_adapters.registry.records import ServerRecord, ServerState

__all__ = ["beat", "clock", "leave", "live", "newest", "register", "serve", "standing"]

# What is known of a server that was lost stays for a day; the ledger has it for ever.
_KEPT = timedelta(days=1)


def clock(session: Session) -> datetime:
    """Return the time by the database's clock. SQLite has none of its own, and one machine alone."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    return now.astimezone(UTC)


def register(session: Session, server: str, name: str, lease_seconds: float) -> None:
    """Let a server be known. It is joining: it takes no traffic, and no promotion waits for it."""
    now = clock(session)
    old = select(ServerRow.id).where(ServerRow.lease_until < now - _KEPT)
    session.execute(delete(ReadinessRow).where(ReadinessRow.server.in_(old)))
    session.execute(delete(ServerRow).where(ServerRow.lease_until < now - _KEPT))
    session.add(
        ServerRow(
            id=server,
            seq=(session.scalar(select(func.max(ServerRow.seq))) or 0) + 1,
            name=name,
            state=ServerState.JOINING,
            why="it has not shown yet that it can serve the champion",
            lease_until=now + timedelta(seconds=lease_seconds),
            registered_at=now,
        )
    )


def beat(session: Session, server: str, lease_seconds: float) -> ServerRecord | None:
    """Renew a server's lease, and tell it where it stands; None when nobody knows it any more.

    One whose lease had run out is joining again: the others may have gone on without it.
    """
    row = _locked(session, server)
    if row is None:
        return None
    now = clock(session)
    if row.state == ServerState.LOST or (row.state == ServerState.SERVING and row.lease_until < now):
        row.state, row.why = ServerState.JOINING, "its lease ran out, and others may have gone on without it"
    row.lease_until = now + timedelta(seconds=lease_seconds)
    return _record(row)


def serve(session: Session, server: str, champion: str, lease_seconds: float) -> bool:
    """Let a server take traffic if the champion it can serve is the champion; say whether it may.

    Args:
        session: The only writer's.
        server: Its id.
        champion: Digest of what it has loaded and proven, and acts on as champion.
        lease_seconds: For how long it is believed.
    """
    row = _locked(session, server)
    now = session.scalars(select(RoutingRow.champion).order_by(RoutingRow.version.desc()).limit(1)).one()
    if row is None or now != champion:
        return False
    row.lease_until = clock(session) + timedelta(seconds=lease_seconds)
    if row.state != ServerState.SERVING:
        payload = {"server": server, "name": row.name, "was": row.state, "champion": champion}
        row.state, row.why = ServerState.SERVING, ""
        ledger.append(session, row.name, "fleet.serving", payload)
    return True


def leave(session: Session, server: str) -> None:
    """Forget a server that stops: nobody waits for it any more."""
    row = _locked(session, server)
    if row is None:
        return
    if row.state == ServerState.SERVING:
        ledger.append(session, row.name, "fleet.left", {"server": server, "name": row.name})
    session.execute(delete(ReadinessRow).where(ReadinessRow.server == server))
    session.delete(row)


def live(session: Session) -> tuple[list[ServerRow], list[ServerRow]]:
    """Return the servers that take traffic, and those that took it until their lease ran out.

    Their rows are locked: a heartbeat that comes now waits, and finds what the caller's transaction made of them.
    """
    query = select(ServerRow).where(ServerRow.state == ServerState.SERVING).order_by(ServerRow.seq).with_for_update()
    rows, now = session.scalars(query).all(), clock(session)
    return [row for row in rows if row.lease_until >= now], [row for row in rows if row.lease_until < now]


def standing(session: Session, server: str) -> ServerRecord | None:
    """Return where a server stands."""
    row = session.get(ServerRow, server)
    return None if row is None else _record(row)


def newest(session: Session, limit: int) -> list[ServerRecord]:
    """Return the servers, the newest first; one whose lease has run out is lost, whatever it last was."""
    now = clock(session)
    rows = session.scalars(select(ServerRow).order_by(ServerRow.seq.desc()).limit(limit))
    return [_record(row, lost=row.lease_until < now) for row in rows]


def _locked(session: Session, server: str) -> ServerRow | None:
    return session.scalars(select(ServerRow).where(ServerRow.id == server).with_for_update()).first()


def _record(row: ServerRow, *, lost: bool = False) -> ServerRecord:
    state = ServerState.LOST if lost else ServerState(row.state)
    why = "its lease ran out" if lost else row.why
    return ServerRecord(row.id, row.name, state, why, row.lease_until, row.registered_at)
