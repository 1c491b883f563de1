"""Flags: what was served, what was flagged about it, and what reviewers decided, durable when acknowledged.

It must not know who trains on them. No torch.
"""

from ratchet_adapters.flags.errors import (
    AlreadyReviewed,
    ExchangeNotFound,
    FlagError,
    FlagNotFound,
)
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
    "FlagKind",
    "FlagNotFound",
    "FlagSource",
    "FlagState",
    "FlagStore",
    "Message",
    "NewFlag",
    "ReviewDecision",
]
