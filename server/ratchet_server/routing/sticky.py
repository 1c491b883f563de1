"""Which requests go together when a share of the traffic tries another adapter, and which of them are in the share.

Every server deals out alike, without asking any other: by a hash of the rollout and of what the request says of itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["WHOLE_BP", "Sticky", "bucket", "sticky"]

WHOLE_BP = 10_000


class _Message(Protocol):
    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sticky:
    """What a request is dealt out by: its tenant ("" when it names none) and its conversation."""

    tenant: str
    conversation: str

    def key(self, by: str) -> str:
        """The key of a policy; a request without tenant goes by its conversation."""
        return f"tenant {self.tenant}" if by == "tenant" and self.tenant else f"conversation {self.conversation}"

    @property
    def tenant_key(self) -> str:
        """What a tenant is counted by without its name; "" for a request that names none."""
        return _hash(self.tenant)[:32] if self.tenant else ""


def sticky(*, tenant: str, principal: str, conversation_id: str, messages: Sequence[_Message]) -> Sticky:
    """Return the keys of a request.

    A conversation goes by its id; without one by tenant, principal and everything up to its first user message, which
    each later turn repeats.
    """
    if conversation_id:
        return Sticky(tenant, _hash(tenant, conversation_id))
    opening: list[str] = []
    for message in messages:
        opening += (message.role, message.content)
        if message.role == "user":
            break
    return Sticky(tenant, _hash(tenant, principal, *opening))


def bucket(salt: str, key: str) -> int:
    """Return a number in [0, WHOLE_BP), the same on every server."""
    return int(_hash(salt, key)[:16], 16) % WHOLE_BP


def _hash(*parts: str) -> str:
    # Lengths keep ("ab", "c") and ("a", "bc") apart; a lone surrogate has no UTF-8 of its own.
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()
