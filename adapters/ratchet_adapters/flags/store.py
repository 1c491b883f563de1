"""The flag store: what was served, what was flagged about it, and what reviewers said.

It must not know who flags, nor what is trained on a flag. Calls block: asyncio callers use `asyncio.to_thread`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ratchet_adapters.artifacts.digest import bytes_digest, canonical_json
from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.flags import rows
from ratchet_adapters.flags.errors import AlreadyReviewed, ExchangeNotFound, FlagNotFound
from ratchet_adapters.flags.models import ExchangeRow, FlagRow
from ratchet_adapters.flags.records import (
    Exchange,
    Flag,
    FlagKind,
    FlagSource,
    FlagState,
    NewFlag,
    ReviewDecision,
)
from ratchet_adapters.registry import Database, Registry, checks, ledger

__all__ = ["FlagStore"]

_LEDGER_BATCH = 500
_INSERT_BATCH = 200


class FlagStore:
    """Exchanges and flags in the registry's database. Thread-safe; several processes may have it open.

    Every method can raise `RegistryUnavailable` and, when it writes, `RegistryFull`, with nothing changed.
    """

    def __init__(self, database: Database) -> None:
        """Use a database that has been migrated. Most callers want `FlagStore.open`."""
        self._database = database

    @classmethod
    def open(cls, source: Registry | Database) -> Self:
        """Open the flag store in the database of an open registry; whoever opened that closes it."""
        return cls(source.database if isinstance(source, Registry) else source)

    def save_exchanges(self, exchanges: Sequence[Exchange]) -> None:
        """Store exchanges in one transaction. One whose request id is known is left as it is.

        Raises:
            InvalidInput: One of them can never be stored; none was.
        """
        values = [rows.exchange_values(exchange) for exchange in exchanges]
        insert = sqlite.insert if self._database.sqlite_path else postgresql.insert
        with self._database.append() as session:
            # In one order everywhere, or two servers saving the same ones could block each other.
            values.sort(key=lambda value: value["request_id"])
            for start in range(0, len(values), _INSERT_BATCH):
                batch = values[start : start + _INSERT_BATCH]
                session.execute(insert(ExchangeRow).on_conflict_do_nothing(), batch)

    def exchange(self, request_id: str) -> Exchange:
        """Return a served exchange, or raise ExchangeNotFound."""
        with self._database.read() as session:
            row = _exchange(session, request_id)
            if row is None:
                raise ExchangeNotFound(request_id)
            return rows.exchange_of(row)

    def submit(self, flags: Sequence[NewFlag]) -> list[str]:
        """Store flags, all or none; durable when this returns.

        A flag about a served exchange gets that exchange's messages, answer, adapter and scores: what was served is
        known, and a claim about it does not change it.

        Returns:
            The ids, in order.

        Raises:
            InvalidInput: One of them can never be stored.
            ExchangeNotFound: One of them names no exchange of its tenant and has no messages of its own.
        """
        if not flags:
            return []
        with self._database.write() as session:
            seq = session.scalar(select(func.max(FlagRow.seq))) or 0
            stored = [
                rows.flag_row(_completed(session, flag), number) for number, flag in enumerate(flags, start=seq + 1)
            ]
            session.add_all(stored)
            for start in range(0, len(stored), _LEDGER_BATCH):
                _log_submission(session, stored[start : start + _LEDGER_BATCH])
            return [row.id for row in stored]

    def flags(
        self,
        state: str | None = None,
        kind: str | None = None,
        source: str | None = None,
        page_size: int = 100,
        page_token: str = "",
        tenant: str | None = None,
    ) -> tuple[list[Flag], str]:
        """Return a page of flags in the order they were submitted, and the token of the next page ("" at the end).

        Raises:
            InvalidInput: A name, the page size (1..1000) or the token is wrong.
        """
        checks.limit(page_size, "page_size")
        conditions: list[ColumnElement[bool]] = [FlagRow.seq > _after(page_token)]
        if state is not None:
            conditions.append(FlagRow.state == rows.name_of(FlagState, state, "state"))
        if tenant is not None:
            conditions.append(FlagRow.tenant == checks.text(tenant, "tenant", longest=64))
        if kind is not None:
            conditions.append(FlagRow.kind == rows.name_of(FlagKind, kind, "kind"))
        if source is not None:
            conditions.append(FlagRow.source == rows.name_of(FlagSource, source, "source"))
        query = select(FlagRow).where(*conditions).order_by(FlagRow.seq).limit(page_size + 1)
        with self._database.read() as session:
            found = session.scalars(query).all()
            page = found[:page_size]
            return [rows.flag_of(row) for row in page], (str(page[-1].seq) if len(found) > page_size else "")

    def flag(self, flag_id: str) -> Flag:
        """Return a flag, or raise FlagNotFound."""
        with self._database.read() as session:
            return rows.flag_of(_flag(session, flag_id))

    def review(self, flag_id: str, decision: str, reviewer: str, note: str = "", kind: str | None = None) -> Flag:
        """Accept or reject an OPEN flag.

        Args:
            flag_id: The flag.
            decision: "ACCEPT" or "REJECT".
            reviewer: Who decides.
            note: Why.
            kind: What it is, when it is not what the flag claims.

        Raises:
            FlagNotFound: There is no such flag.
            AlreadyReviewed: It is not OPEN any more.
            InvalidInput: A name or text is wrong.
        """
        rows.name_of(ReviewDecision, decision, "decision")
        checks.text(reviewer, "reviewer", longest=128, empty=False)
        checks.text(note, "note", longest=16384)
        with self._database.write() as session:
            row = _flag(session, flag_id)
            if row.state != FlagState.OPEN:
                raise AlreadyReviewed(row.id, row.state, row.reviewer)
            row.state = str(FlagState.ACCEPTED if decision == ReviewDecision.ACCEPT else FlagState.REJECTED)
            row.kind = row.kind if kind is None else rows.name_of(FlagKind, kind, "kind")
            row.reviewer, row.review_note, row.reviewed_at = reviewer, note, datetime.now(UTC)
            payload = {"flag_id": row.id, "state": row.state, "kind": row.kind, "note": note}
            ledger.append(session, reviewer, "flag.reviewed", payload)
            return rows.flag_of(row)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the number of flags by "state", by "kind" and by "source", every name present."""
        result = {
            "state": dict.fromkeys(map(str, FlagState), 0),
            "kind": dict.fromkeys(map(str, FlagKind), 0),
            "source": dict.fromkeys(map(str, FlagSource), 0),
        }
        query = select(FlagRow.state, FlagRow.kind, FlagRow.source, func.count()).group_by(
            FlagRow.state, FlagRow.kind, FlagRow.source
        )
        with self._database.read() as session:
            for state, kind, source, count in session.execute(query).tuples():
                for axis, name in (("state", state), ("kind", kind), ("source", source)):
                    result[axis][name] += count
        return result


def _completed(session: Session, flag: NewFlag) -> NewFlag:
    row = _exchange(session, flag.request_id) if flag.request_id else None
    # Request ids of other tenants are not there to be guessed.
    if row is None or (flag.tenant and flag.tenant != row.tenant):
        if not flag.messages:
            if not flag.request_id:
                raise InvalidInput("messages", "there are none, and no request_id of a served exchange")
            raise ExchangeNotFound(flag.request_id)
        return flag
    served = rows.exchange_of(row)
    return dataclasses.replace(
        flag,
        messages=served.messages,
        completion=served.completion,
        adapter_digest=served.adapter_digest,
        tenant=served.tenant,
        scores=served.scores,
    )


def _log_submission(session: Session, stored: Sequence[FlagRow]) -> None:
    contents = {
        row.id: bytes_digest(canonical_json([row.kind, row.messages, row.completion, row.principal]).encode())
        for row in stored
    }
    actors = sorted({row.principal for row in stored})
    actor = actors[0] if len(actors) == 1 else f"{len(actors)} principals"
    ledger.append(session, actor, "flags.submitted", {"flags": contents})


def _exchange(session: Session, request_id: str) -> ExchangeRow | None:
    return session.get(ExchangeRow, request_id) if _storable(request_id) else None


def _flag(session: Session, flag_id: str) -> FlagRow:
    row = session.get(FlagRow, flag_id) if _storable(flag_id) else None
    if row is None:
        raise FlagNotFound(flag_id)
    return row


def _storable(value: str) -> bool:
    return value.isascii() and "\0" not in value


def _after(token: str) -> int:
    if not token:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) <= 18):
        raise InvalidInput("page_token", "it is not one that a previous page gave")
    return int(token)
