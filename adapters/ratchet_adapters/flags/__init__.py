"""Flags: what was served, what was flagged about it, and what reviewers decided, durable when acknowledged.

It must not know who trains on them. No torch.
"""

from ratchet_adapters.flags.errors import (
    AlreadyReviewed,
    ExchangeNotFound,
    FlagError,
    FlagFileUnreadable,
    FlagNotFound,
)
from ratchet_adapters.flags.importer import ImportResult, read_flags
from ratchet_adapters.flags.records import (
    Exchange,
    Flag,
    FlagKind,
    FlagSource,
    FlagState,
    Message,
    NewFlag,
    ReviewDecision,
)
from ratchet_adapters.flags.store import FlagStore

__all__ = [
    "AlreadyReviewed",
    "Exchange",
    "ExchangeNotFound",
    "Flag",
    "FlagError",
    "FlagFileUnreadable",
    "FlagKind",
    "FlagNotFound",
    "FlagSource",
    "FlagState",
    "FlagStore",
    "ImportResult",
    "Message",
    "NewFlag",
    "ReviewDecision",
    "read_flags",
]
