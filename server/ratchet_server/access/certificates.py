"""Client certificates as credentials: TLS has verified them, the settings say what their names open."""

from __future__ import annotations

from collections.abc import Mapping

from ratchet_server.access.identity import Credentials, Identity
from ratchet_server.access.settings import Grant

__all__ = ["CertificateAuthenticator"]


class CertificateAuthenticator:
    """A certificate with no name in the settings proves nothing; its holder may still send a key or a token."""

    def __init__(self, grants: Mapping[str, Grant]) -> None:
        self._grants = dict(grants)

    async def identify(self, credentials: Credentials) -> Identity | None:
        """See `Authenticator`. A key or a token that comes along goes first: it names the one behind a proxy."""
        if credentials.authorization:
            return None
        for name in credentials.certificate:
            if (grant := self._grants.get(name)) is not None:
                return Identity(name, grant.roles, grant.tenant, "certificate", on_behalf=grant.on_behalf)
        return None
