"""One turn of a conversation with a chat model.

It must not know how the model is reached: whoever only writes messages needs no HTTP client.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Message"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str
