"""The store of API keys, each change a ledger entry in the same transaction. Calls block.

It must not know who may change keys, nor what they open.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from ratchet_adapters.access.errors import KeyNotFound, KeyRevoked
from ratchet_adapters.access.models import ApiKeyRow
from ratchet_adapters.access.records import ApiKey, NewKey, new_secret, secret_hash
from ratchet_adapters.registry import checks, ledger
from ratchet_adapters.registry.database import Database
from ratchet_adapters.registry.registry import Registry

__all__ = ["KeyStore"]


class KeyStore:
    """API keys on one database. Thread-safe; every method can raise `RegistryUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, registry: Registry) -> Self:
        """Use an open registry's database."""
        return cls(registry.database)

    def create(self, grant: NewKey, actor: str) -> tuple[ApiKey, str]:
        """Make a key. Returns what is kept, and the key itself: nobody can read it again.

        Raises:
            InvalidInput: A name that cannot be stored.
        """
        checks.text(grant.name, "name", longest=128, empty=False)
        checks.text(grant.tenant, "tenant", longest=64)
        with self._database.write() as session:
            row, key = _add(session, grant, checks.actor(actor))
            ledger.append(session, actor, "key.created", {"key": row.id, **_granted(row)})
            return _key(row), key

    def rotate(self, ident: str, actor: str, *, grace: timedelta = timedelta(0)) -> tuple[ApiKey, str]:
        """Make a new key that opens the same; the old one opens it for the grace time still.

        Raises:
            KeyNotFound: There is no such key.
            KeyRevoked: It opens nothing any more.
        """
        with self._database.write() as session:
            old, now = _row(session, ident), datetime.now(UTC)
            if not _key(old).opens(now):
                raise KeyRevoked(ident)
            row, key = _add(session, _key(old).grant, checks.actor(actor))
            until = now + grace
            old.expires_at = until if old.expires_at is None else min(old.expires_at, until)
            payload = {"key": row.id, "replaces": ident, "until": until.isoformat(), **_granted(row)}
            ledger.append(session, actor, "key.rotated", payload)
            return _key(row), key

    def revoke(self, ident: str, actor: str) -> ApiKey:
        """Make a key open nothing from now on; idempotent.

        Raises:
            KeyNotFound: There is no such key.
        """
        with self._database.write() as session:
            row = _row(session, ident)
            if row.revoked_at is None:
                row.revoked_at = datetime.now(UTC)
                ledger.append(session, checks.actor(actor), "key.revoked", {"key": ident, "name": row.name})
            return _key(row)

    def key(self, ident: str) -> ApiKey:
        """Return a key, or raise KeyNotFound."""
        with self._database.read() as session:
            return _key(_row(session, ident))

    def all(self) -> list[ApiKey]:
        """Return all keys, revoked ones included, the oldest first."""
        with self._database.read() as session:
            return [_key(row) for row in session.scalars(select(ApiKeyRow).order_by(ApiKeyRow.created_at))]

    def log_call(self, actor: str, kind: str, payload: dict[str, Any]) -> None:
        """Write a call into the ledger; durable when this returns."""
        with self._database.write() as session:
            ledger.append(session, checks.actor(actor), kind, payload)


def _add(session: Session, grant: NewKey, actor: str) -> tuple[ApiKeyRow, str]:
    ident, key = new_secret()
    row = ApiKeyRow(
        id=ident,
        hash=secret_hash(key),
        name=grant.name,
        roles=sorted(grant.roles),
        tenant=grant.tenant,
        on_behalf=grant.on_behalf,
        created_by=actor,
        created_at=datetime.now(UTC),
        expires_at=grant.expires_at,
        revoked_at=None,
    )
    session.add(row)
    return row, key


def _row(session: Session, ident: str) -> ApiKeyRow:
    row = session.get(ApiKeyRow, ident) if ident.isascii() and "\0" not in ident else None
    if row is None:
        raise KeyNotFound(ident)
    return row


def _granted(row: ApiKeyRow) -> dict[str, Any]:
    return {"name": row.name, "roles": row.roles, "tenant": row.tenant, "on_behalf": row.on_behalf}


def _key(row: ApiKeyRow) -> ApiKey:
    grant = NewKey(row.name, tuple(row.roles), row.tenant, row.on_behalf, row.expires_at)
    return ApiKey(row.id, row.hash, grant, row.created_by, row.created_at, row.revoked_at)
