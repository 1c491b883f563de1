"""The Python client: `Ratchet` for threads, `AsyncRatchet` for asyncio, and the errors they raise."""

from ratchet.client.aio import AsyncRatchet
from ratchet.client.answer import Answer, Done, TextDelta
from ratchet.client.errors import (
    FieldViolation,
    InvalidRequest,
    NotFound,
    Overloaded,
    RatchetError,
    Refused,
    Unavailable,
)
from ratchet.client.request import chat_request
from ratchet.client.sync import Ratchet

__all__ = [
    "Answer",
    "AsyncRatchet",
    "Done",
    "FieldViolation",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "Ratchet",
    "RatchetError",
    "Refused",
    "TextDelta",
    "Unavailable",
    "chat_request",
]
