"""Typed errors of the key store. Each says what was wrong and what to do about it."""

from __future__ import annotations

from ratchet_adapters.errors import AdaptersError

__all__ = ["KeyNotFound", "KeyRevoked"]


class KeyNotFound(AdaptersError):
    """No API key has this id."""

    def __init__(self, ident: str) -> None:
        super().__init__(f"There is no API key {ident[:64]!r}. List the keys to see their ids.")
        self.ident = ident


class KeyRevoked(AdaptersError):
    """A key that opens nothing any more cannot be rotated."""

    def __init__(self, ident: str) -> None:
        super().__init__(f"API key {ident} is revoked or expired. Create a new one.")
        self.ident = ident
