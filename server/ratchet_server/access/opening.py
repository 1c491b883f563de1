"""The door as the settings want it, with the registry's keys and ledger behind it."""

from __future__ import annotations

import asyncio

from ratchet_adapters.access import KeyStore
from ratchet_server.access.api_keys import KeyAuthenticator
from ratchet_server.access.certificates import CertificateAuthenticator
from ratchet_server.access.door import Authenticator, Door
from ratchet_server.access.identity import Identity
from ratchet_server.access.settings import AccessSettings

__all__ = ["open_door"]


def open_door(settings: AccessSettings, keys: KeyStore) -> Door:
    """Return the door.

    Raises:
        AccessSettingsInvalid: A file that it needs cannot be read.
    """
    authenticators: list[Authenticator] = [KeyAuthenticator(keys, settings.cache_seconds)]
    if settings.tokens.on:
        # Here, because only tokens need PyJWT.
        from ratchet_server.access.tokens import TokenAuthenticator

        authenticators.append(TokenAuthenticator(settings.tokens))
    authenticators.append(CertificateAuthenticator(settings.certificates))

    async def journal(identity: Identity, kind: str, call: str, peer: str) -> None:
        roles = sorted(identity.roles) if identity.verified else []
        payload = {
            "call": call, "credential": identity.credential, "peer": peer, "roles": roles, "tenant": identity.tenant,
        }  # fmt: skip
        await asyncio.to_thread(keys.log_call, identity.name, kind, payload)

    return Door(authenticators, required=settings.required, journal=journal)
