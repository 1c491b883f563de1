"""The Python client: `Ratchet` for threads, `AsyncRatchet` for asyncio, and the errors they raise."""

from ratchet.client.aio import AsyncRatchet
from ratchet.client.answer import Answer, Done, TextDelta
from ratchet.client.credentials import Tls
from ratchet.client.errors import (
    DeadlineExceeded,
    FieldViolation,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    RatchetError,
    Refused,
    Unauthenticated,
    Unavailable,
)
from ratchet.client.request import chat_request
from ratchet.client.sync import Ratchet

__all__ = [
    "Answer",
    "AsyncRatchet",
    "DeadlineExceeded",
    "Done",
    "FieldViolation",
    "InvalidRequest",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Ratchet",
    "RatchetError",
    "Refused",
    "TextDelta",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "chat_request",
]
