"""The tables of exchanges, flags and containments, in the registry's database.

It must not know what may be written when. A change here needs a migration.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ratchet_adapters.registry.columns import Instant, JsonText
from ratchet_adapters.registry.models import Table

__all__ = ["ContainmentRow", "ExchangeRow", "FlagRow"]


class ExchangeRow(Table):
    """A served request and its answer. Texts are JSON: a model may produce characters that databases refuse."""

    __tablename__ = "exchanges"

    request_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    messages: Mapped[Any] = mapped_column(JsonText)
    completion: Mapped[Any] = mapped_column(JsonText)
    adapter_digest: Mapped[str] = mapped_column(String(71))
    tenant: Mapped[str] = mapped_column(String(64))
    principal: Mapped[str] = mapped_column(String(128))
    scores: Mapped[Any] = mapped_column(JsonText)
    verdicts: Mapped[Any] = mapped_column(JsonText)
    finish_reason: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(Instant, index=True)


class FlagRow(Table):
    """A flag and its review. `seq` is the order of submission."""

    __tablename__ = "flags"
    __table_args__ = (Index(None, "state", "seq"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    messages: Mapped[Any] = mapped_column(JsonText)
    completion: Mapped[Any] = mapped_column(JsonText)
    adapter_digest: Mapped[str] = mapped_column(String(71))
    request_id: Mapped[str] = mapped_column(String(64), index=True)
    tenant: Mapped[str] = mapped_column(String(64))
    principal: Mapped[str] = mapped_column(String(128))
    note: Mapped[str] = mapped_column(Text)
    scores: Mapped[Any] = mapped_column(JsonText)
    reviewer: Mapped[str] = mapped_column(String(128))
    review_note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    reviewed_at: Mapped[datetime | None] = mapped_column(Instant)


class ContainmentRow(Table):
    """An accepted flag whose repeats are blocked. Over once it has ended or expired."""

    __tablename__ = "containments"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    flag_id: Mapped[str] = mapped_column(ForeignKey("flags.id"))
    text: Mapped[Any] = mapped_column(JsonText)
    tenant: Mapped[str] = mapped_column(String(64))
    profile: Mapped[str] = mapped_column(String(64))
    contained_by: Mapped[str] = mapped_column(String(128))
    flagged_at: Mapped[datetime] = mapped_column(Instant)
    contained_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant, index=True)
    first_blocked_at: Mapped[datetime | None] = mapped_column(Instant)
    covered_by: Mapped[str] = mapped_column(String(71))
    ended_at: Mapped[datetime | None] = mapped_column(Instant)
    ended_why: Mapped[str] = mapped_column(Text)
