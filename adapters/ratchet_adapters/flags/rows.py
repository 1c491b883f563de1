"""Between records and rows: what is checked on the way in, and nothing lost on the way out.

It must not know sessions or transactions.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.flags.models import ExchangeRow, FlagRow
from ratchet_adapters.flags.records import Exchange, Flag, FlagKind, FlagSource, FlagState, Message, NewFlag
from ratchet_adapters.registry import checks

__all__ = ["exchange_of", "exchange_values", "flag_of", "flag_row", "name_of"]

_LONGEST_NOTE = 16384


def name_of(names: type[StrEnum], value: str, field: str) -> str:
    """Return a name of an enumeration, or raise InvalidInput."""
    if value not in set(names):
        raise InvalidInput(field, f"it is not one of {', '.join(names)}")
    return str(value)


def exchange_values(exchange: Exchange) -> dict[str, Any]:
    """Return the column values of an exchange."""
    return {
        "request_id": _id(exchange.request_id, "request_id"),
        "messages": _messages(exchange.messages),
        "completion": _string(exchange.completion, "completion"),
        "adapter_digest": checks.digest(exchange.adapter_digest, "adapter_digest", base=True),
        "tenant": checks.text(exchange.tenant, "tenant", longest=64),
        "principal": checks.text(exchange.principal, "principal", longest=128),
        "scores": _scores(exchange.scores),
        "verdicts": [checks.json_object(verdict, "verdicts") for verdict in exchange.verdicts],
        "finish_reason": checks.text(exchange.finish_reason, "finish_reason", longest=64),
        "created_at": checks.instant(exchange.created_at, "created_at"),
    }


def exchange_of(row: ExchangeRow) -> Exchange:
    """Return the record of a row."""
    return Exchange(
        request_id=row.request_id,
        messages=_stored_messages(row.messages),
        completion=row.completion,
        adapter_digest=row.adapter_digest,
        tenant=row.tenant,
        principal=row.principal,
        scores=dict(row.scores),
        verdicts=tuple(row.verdicts),
        finish_reason=row.finish_reason,
        created_at=row.created_at,
    )


def flag_row(flag: NewFlag, seq: int) -> FlagRow:
    """Return a new OPEN row of a flag that has messages."""
    return FlagRow(
        id=uuid.uuid4().hex,
        seq=seq,
        kind=name_of(FlagKind, flag.kind, "kind"),
        source=name_of(FlagSource, flag.source, "source"),
        state=str(FlagState.OPEN),
        messages=_messages(flag.messages),
        completion=_string(flag.completion, "completion"),
        adapter_digest=checks.digest(flag.adapter_digest, "adapter_digest", base=True),
        request_id=checks.text(flag.request_id, "request_id", longest=64),
        tenant=checks.text(flag.tenant, "tenant", longest=64),
        principal=checks.text(flag.principal, "principal", longest=128, empty=False),
        note=checks.text(flag.note, "note", longest=_LONGEST_NOTE),
        scores=_scores(flag.scores),
        reviewer="",
        review_note="",
        created_at=datetime.now(UTC),
        reviewed_at=None,
    )


def flag_of(row: FlagRow) -> Flag:
    """Return the record of a row."""
    return Flag(
        id=row.id,
        kind=row.kind,
        source=row.source,
        state=row.state,
        messages=_stored_messages(row.messages),
        completion=row.completion,
        adapter_digest=row.adapter_digest,
        request_id=row.request_id,
        tenant=row.tenant,
        principal=row.principal,
        note=row.note,
        scores=dict(row.scores),
        reviewer=row.reviewer,
        review_note=row.review_note,
        created_at=row.created_at,
        reviewed_at=row.reviewed_at,
    )


def _id(value: str, field: str) -> str:
    checks.text(value, field, longest=64, empty=False)
    if not value.isascii():
        raise InvalidInput(field, "it is not ASCII")
    return value


def _messages(messages: Iterable[Message]) -> list[list[str]]:
    found = [
        [checks.text(m.role, "messages.role", longest=32, empty=False), _string(m.content, "messages.content")]
        for m in messages
    ]
    if not found:
        raise InvalidInput("messages", "there are none")
    return found


def _string(value: str, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(field, f"it is {type(value).__name__}, not text")
    return value


def _stored_messages(value: Any) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in value)


def _scores(scores: Mapping[str, float]) -> dict[str, float]:
    return {
        checks.text(name, "scores", longest=64, empty=False): checks.number(value, f"scores.{name}")
        for name, value in scores.items()
    }
