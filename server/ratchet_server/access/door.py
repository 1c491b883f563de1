"""The one way in, for every protocol: who is it, may they, and into the ledger with what they are about to do."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Sequence
from typing import Protocol

from ratchet_server.access.errors import PermissionDenied, Unauthenticated
from ratchet_server.access.identity import ANYONE, Credentials, Identity
from ratchet_server.access.permissions import permission

__all__ = ["Authenticator", "Door", "Journal"]

log = logging.getLogger(__name__)


class Authenticator(Protocol):
    """One kind of credentials."""

    async def identify(self, credentials: Credentials) -> Identity | None:
        """Return who it is; None if these are not credentials of its kind.

        Raises:
            Unauthenticated: They are of its kind and prove nothing.
            RegistryUnavailable: It cannot be told now.
        """
        ...


class Journal(Protocol):
    """Where admin calls are written down."""

    def __call__(self, identity: Identity, kind: str, call: str, peer: str) -> Awaitable[None]:
        """Returns when it is durable. Raises RegistryUnavailable."""
        ...


class Door:
    """One per server.

    Attributes:
        required: Whether callers without credentials are turned away.
    """

    def __init__(
        self,
        authenticators: Sequence[Authenticator] = (),
        *,
        required: bool = False,
        journal: Journal | None = None,
    ) -> None:
        """`journal`: None writes nothing down."""
        self._authenticators = tuple(authenticators)
        self._journal = journal
        self.required = required

    async def admit(self, call: str, credentials: Credentials) -> Identity:
        """Return who may make a call; an audited one is in the ledger when this returns.

        Raises:
            Unauthenticated: Credentials are missing where they are needed, or prove nothing.
            PermissionDenied: None of the caller's roles may make this call.
            RegistryUnavailable: Who it is cannot be told, or the call cannot be written down.
        """
        allowed = permission(call)
        if allowed.roles is None:
            return ANYONE
        identity = await self._identify(credentials)
        if not identity.roles & allowed.roles:
            log.warning("%s (%s) was refused %s", identity.name, credentials.peer, call)
            if identity.verified and self._journal is not None:
                await self._journal(identity, "call.refused", call, credentials.peer)
            raise PermissionDenied(identity.name, f"call {call.rpartition('/')[2]}", allowed.roles)
        if allowed.audited and self._journal is not None:
            await self._journal(identity, "call.made", call, credentials.peer)
        return identity

    async def _identify(self, credentials: Credentials) -> Identity:
        for authenticator in self._authenticators:
            identity = await authenticator.identify(credentials)
            if identity is not None:
                return identity
        if not self.required:
            # OpenAI clients cannot leave the key out: one of another kind says nothing.
            return ANYONE
        if credentials.authorization:
            raise Unauthenticated("these credentials are of no kind that this server takes")
        raise Unauthenticated("this server answers nobody without credentials")
