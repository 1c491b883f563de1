"""What an API key is: its parts, its hash, and what is kept of it. No behaviour of any database."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

__all__ = ["ApiKey", "NewKey", "key_id", "new_secret", "secret_hash"]

_KEY = re.compile(r"rk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True)
class NewKey:
    """What a key shall open.

    Attributes:
        name: Who holds it; it stands for them in flags, approvals and the ledger.
        roles: Their names.
        tenant: Whose policy and data; "" for all tenants.
        on_behalf: Whether its holder may name the end users it asks for.
        expires_at: When it stops opening anything; None: never.
    """

    name: str
    roles: tuple[str, ...]
    tenant: str = ""
    on_behalf: bool = False
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. The key itself is not, only the hash of its secret."""

    id: str
    hash: str
    grant: NewKey
    created_by: str
    created_at: datetime
    revoked_at: datetime | None = None

    def opens(self, now: datetime) -> bool:
        """Whether it opens anything at a time."""
        return self.revoked_at is None and (self.grant.expires_at is None or now < self.grant.expires_at)


def new_secret() -> tuple[str, str]:
    """Return a fresh id and the whole key, `rk_<id>_<256 random bits>`."""
    ident = secrets.token_hex(6)
    return ident, f"rk_{ident}_{secrets.token_urlsafe(32)}"


def key_id(key: str) -> str:
    """Return the id within a key; "" for what is not one."""
    match = _KEY.fullmatch(key)
    return match.group(1) if match else ""


def secret_hash(key: str) -> str:
    """Return the SHA-256 of a whole key, in hex: 256 random bits need no slow hash, see docs/decisions."""
    return hashlib.sha256(key.encode()).hexdigest()
