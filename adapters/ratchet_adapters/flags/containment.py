"""Containments: accepted flags whose repeats every server blocks at once, until they expire or an adapter covers them.

It must not know how a repeat is recognised. Calls block: asyncio callers use `asyncio.to_thread`.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.flags import rows
from ratchet_adapters.flags.errors import ContainmentNotFound, FlagNotFound, NotContainable
from ratchet_adapters.flags.models import ContainmentRow, FlagRow
from ratchet_adapters.flags.records import FlagKind, FlagState
from ratchet_adapters.registry import Database, checks, ledger

__all__ = ["MAX_ACTIVE", "Containment", "ContainmentStore"]

MAX_ACTIVE = 10_000
"""Containments that may be in force at once: every request is compared with all of them."""
_FEWEST_WORDS = 4
_LONGEST_HOURS = 24 * 90


@dataclass(frozen=True, slots=True)
class Containment:
    """An accepted flag whose repeats are blocked.

    Attributes:
        text: What is blocked: the user's words, of all turns.
        tenant: Whose requests; "" is everybody's.
        profile: Under which rail profile; "" is all of them.
        flagged_at: When the flag was submitted; immunity is measured from there.
        first_blocked_at: When a repeat was first blocked; None: none has been.
        covered_by: Digest of the adapter that was shown to refuse it; requests to that one are not blocked.
        ended_at: When it was ended before it expired, and `ended_why`.
    """

    id: str
    flag_id: str
    text: str
    tenant: str
    profile: str
    contained_by: str
    flagged_at: datetime
    contained_at: datetime
    expires_at: datetime
    first_blocked_at: datetime | None = None
    covered_by: str = ""
    ended_at: datetime | None = None
    ended_why: str = ""


class ContainmentStore:
    """Containments in the registry's database. Thread-safe; several processes may have it open.

    Every method can raise `RegistryUnavailable` and, when it writes, `RegistryFull`, with nothing changed.
    """

    def __init__(self, database: Database) -> None:
        """Use a database that has been migrated."""
        self._database = database

    def contain(
        self, flag_ids: Sequence[str], actor: str, *, tenant: str = "", profile: str = "", hours: float = 168.0
    ) -> list[Containment]:
        """Contain accepted flags, all or none.

        Args:
            flag_ids: The flags.
            actor: Who does it.
            tenant: Whose requests shall be blocked; "" is everybody's.
            profile: Under which rail profile; "" is all of them.
            hours: After which time it ends by itself, at most 90 days.

        Raises:
            FlagNotFound: There is no such flag.
            NotContainable: One is not accepted, claims an over-refusal, is too short to be told apart, or there are
                too many in force.
            InvalidInput: A name or the time is wrong.
        """
        checks.text(actor, "actor", longest=128, empty=False)
        checks.text(tenant, "tenant", longest=64)
        checks.text(profile, "profile", longest=64)
        if not 0 < hours <= _LONGEST_HOURS:
            raise InvalidInput("hours", f"it must be above 0 and at most {_LONGEST_HOURS}")
        now = datetime.now(UTC)
        with self._database.write() as session:
            active = len(session.scalars(_active(now)).all())
            made: list[ContainmentRow] = []
            for flag_id in dict.fromkeys(flag_ids):
                flag = _containable(session, flag_id)
                if active + len(made) >= MAX_ACTIVE:
                    raise NotContainable(flag_id, f"{MAX_ACTIVE} containments are in force. End some first.")
                row = ContainmentRow(
                    id=f"contain-{uuid.uuid4().hex[:12]}",
                    flag_id=flag.id,
                    text=_text(flag),
                    tenant=tenant,
                    profile=profile,
                    contained_by=actor,
                    flagged_at=flag.created_at,
                    contained_at=now,
                    expires_at=now + timedelta(hours=hours),
                    covered_by="",
                    ended_why="",
                )
                made.append(row)
            session.add_all(made)
            payload = {"containments": {row.id: row.flag_id for row in made}, "tenant": tenant, "profile": profile}
            ledger.append(session, actor, "flags.contained", {**payload, "hours": hours})
            return [_record(row) for row in made]

    def active(self) -> list[Containment]:
        """Return those in force, oldest first."""
        with self._database.read() as session:
            return [_record(row) for row in session.scalars(_active(datetime.now(UTC)))]

    def all(self, limit: int = 100) -> list[Containment]:
        """Return the newest ones, over or not."""
        checks.limit(limit, "limit")
        query = select(ContainmentRow).order_by(ContainmentRow.contained_at.desc(), ContainmentRow.id).limit(limit)
        with self._database.read() as session:
            return [_record(row) for row in session.scalars(query)]

    def end(self, containment_id: str, actor: str, why: str) -> Containment:
        """End one; ending one that is over changes nothing.

        Raises:
            ContainmentNotFound: There is none of that id.
            InvalidInput: A text is wrong.
        """
        checks.text(actor, "actor", longest=128, empty=False)
        checks.text(why, "why", longest=4096)
        with self._database.write() as session:
            row = session.get(ContainmentRow, containment_id) if containment_id.isascii() else None
            if row is None:
                raise ContainmentNotFound(containment_id)
            if row.ended_at is None:
                row.ended_at, row.ended_why = datetime.now(UTC), why
                ledger.append(session, actor, "containment.ended", {"id": row.id, "why": why})
            return _record(row)

    def cover(self, containment_id: str, digest: str, evidence: str) -> None:
        """Note that an adapter was shown to refuse the contained prompt.

        Raises:
            ContainmentNotFound: There is none of that id.
            InvalidInput: The digest or the text is wrong.
        """
        checks.digest(digest, "digest")
        checks.text(evidence, "evidence", longest=4096)
        with self._database.write() as session:
            row = session.get(ContainmentRow, containment_id)
            if row is None:
                raise ContainmentNotFound(containment_id)
            if row.covered_by != digest:
                row.covered_by = digest
                payload = {"id": row.id, "adapter": digest, "evidence": evidence}
                ledger.append(session, "server", "containment.covered", payload)

    def blocked(self, containment_id: str, at: datetime) -> bool:
        """Note that a repeat was blocked; return whether it was the first on any server."""
        missing = ContainmentRow.first_blocked_at.is_(None)
        change = update(ContainmentRow).where(ContainmentRow.id == containment_id, missing).values(first_blocked_at=at)
        with self._database.append() as session:
            return bool(session.execute(change.returning(ContainmentRow.id)).first())


def _active(now: datetime) -> Select[Any]:
    return (
        select(ContainmentRow)
        .where(ContainmentRow.ended_at.is_(None), ContainmentRow.expires_at > now)
        .order_by(ContainmentRow.contained_at, ContainmentRow.id)
    )


def _containable(session: Session, flag_id: str) -> FlagRow:
    flag = session.get(FlagRow, flag_id) if flag_id.isascii() and "\0" not in flag_id else None
    if flag is None:
        raise FlagNotFound(flag_id)
    if flag.state != FlagState.ACCEPTED:
        raise NotContainable(flag_id, f"it is {flag.state}. Review it first: a claim alone blocks nobody.")
    if flag.kind == FlagKind.OVER_REFUSAL:
        raise NotContainable(flag_id, "it says that too much was refused; blocking more would not help.")
    if len(_text(flag).split()) < _FEWEST_WORDS:
        raise NotContainable(flag_id, f"a prompt of fewer than {_FEWEST_WORDS} words cannot be told from others.")
    return flag


def _text(flag: FlagRow) -> str:
    # Of a conversation all turns: its last words alone ("now do it step by step") may be anybody's.
    return "\n".join(m.content for m in rows.flag_of(flag).messages if m.role == "user" and m.content)


def _record(row: ContainmentRow) -> Containment:
    return Containment(**{name: getattr(row, name) for name in Containment.__slots__})
