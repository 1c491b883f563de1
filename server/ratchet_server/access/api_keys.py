"""API keys as credentials: `authorization: Bearer rk_...`."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from datetime import UTC, datetime

from ratchet_adapters.access import ApiKey, KeyNotFound, KeyStore, key_id, secret_hash
from ratchet_adapters.registry import RegistryUnavailable
from ratchet_server.access.errors import Unauthenticated
from ratchet_server.access.identity import Credentials, Identity, Role

__all__ = ["KeyAuthenticator", "bearer"]

_REMEMBERED = 4096


def bearer(credentials: Credentials) -> str:
    """Return what stands after "Bearer"; "" for other schemes."""
    scheme, _, value = credentials.authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


class KeyAuthenticator:
    """Knows the keys of the registry. While that cannot be read, keys it has seen open what they opened."""

    def __init__(self, store: KeyStore, cache_seconds: float) -> None:
        self._store = store
        self._cache_seconds = cache_seconds
        self._seen: OrderedDict[str, tuple[float, ApiKey]] = OrderedDict()

    async def identify(self, credentials: Credentials) -> Identity | None:
        """See `Authenticator`."""
        key = bearer(credentials)
        if not (ident := key_id(key)):
            return None
        try:
            record = await self._record(ident)
        except KeyNotFound:
            raise Unauthenticated("this API key is not known") from None
        if not hmac.compare_digest(record.hash, secret_hash(key)):
            raise Unauthenticated("this API key is not known")
        if not record.opens(datetime.now(UTC)):
            raise Unauthenticated(f"API key {ident} has expired or was revoked")
        grant = record.grant
        roles = frozenset(Role(name) for name in grant.roles)
        return Identity(grant.name, roles, grant.tenant, f"key {ident}", on_behalf=grant.on_behalf)

    async def _record(self, ident: str) -> ApiKey:
        looked, known = self._seen.get(ident, (0.0, None))
        now = time.monotonic()
        if known is not None and now - looked < self._cache_seconds:
            return known
        try:
            known = await asyncio.to_thread(self._store.key, ident)
        except RegistryUnavailable:
            # Serving does not depend on the database: what was open stays open, what was never seen stays closed.
            if known is None:
                raise
        # Remembered as looked up even when it could not be: a database that is down is not asked by every request.
        self._seen[ident] = (now, known)
        self._seen.move_to_end(ident)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return known
