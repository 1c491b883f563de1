"""What the flag store takes and hands out: exchanges as they were served, and flags, which are claims about them.

It must not know how they are stored, nor what a dataset makes of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

__all__ = [
    "Exchange",
    "Flag",
    "FlagKind",
    "FlagSource",
    "FlagState",
    "Message",
    "NewFlag",
    "ReviewDecision",
]


class FlagKind(StrEnum):
    """What a flag claims."""

    HARMFUL = "HARMFUL"
    TOXIC = "TOXIC"
    OVER_REFUSAL = "OVER_REFUSAL"
    BIAS = "BIAS"
    OTHER = "OTHER"


class FlagSource(StrEnum):
    """Who claims it."""

    USER = "USER"
    RAIL = "RAIL"
    SCORER = "SCORER"
    IMPORT = "IMPORT"


class FlagState(StrEnum):
    """Where a flag is in review."""

    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


class ReviewDecision(StrEnum):
    """What a reviewer decides."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """One served request and its answer, with scores in [0, 1] and rail verdicts as JSON objects."""

    request_id: str
    messages: tuple[Message, ...]
    completion: str
    adapter_digest: str
    tenant: str
    principal: str
    scores: dict[str, float]
    verdicts: tuple[dict[str, Any], ...]
    finish_reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewFlag:
    """A flag to submit: about a served exchange by its request id, or about messages given here."""

    kind: str
    source: str
    principal: str
    messages: tuple[Message, ...] = ()
    completion: str = ""
    adapter_digest: str = ""
    request_id: str = ""
    tenant: str = ""
    note: str = ""
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flag:
    """A stored flag."""

    id: str
    kind: str
    source: str
    state: str
    messages: tuple[Message, ...]
    completion: str
    adapter_digest: str
    request_id: str
    tenant: str
    principal: str
    note: str
    scores: dict[str, float]
    reviewer: str
    review_note: str
    created_at: datetime
    reviewed_at: datetime | None
