"""JSON Web Tokens as credentials, signed by a provider whose key set is a file or behind an address."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jwt

from ratchet_server.access.api_keys import bearer
from ratchet_server.access.errors import AccessSettingsInvalid, Unauthenticated
from ratchet_server.access.identity import Credentials, Identity, Role
from ratchet_server.access.settings import TokenSettings

__all__ = ["TokenAuthenticator"]

_LONGEST = 128


class _KeySet(Protocol):
    def get_signing_key_from_jwt(self, token: str) -> jwt.PyJWK: ...


class _FileKeys:
    """A key set in a file, read again when it changes; while a new one cannot be read, the old one holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] = (0, 0)
        self._set = self._read()

    def get_signing_key_from_jwt(self, token: str) -> jwt.PyJWK:
        """Return the key that a token names."""
        with contextlib.suppress(AccessSettingsInvalid):
            self._set = self._read()
        wanted = jwt.get_unverified_header(token).get("kid")
        usable = [key for key in self._set.keys if key.public_key_use in (None, "sig")]
        found = [key for key in usable if key.key_id == wanted] if wanted else usable
        if len(found) != 1:
            raise jwt.PyJWKClientError(f"the key set has {len(found)} keys for it")
        return found[0]

    def _read(self) -> jwt.PyJWKSet:
        try:
            stat = self._path.stat()
            if (stamp := (stat.st_mtime_ns, stat.st_size)) == self._stamp:
                return self._set
            keys = jwt.PyJWKSet.from_dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, jwt.PyJWTError) as error:
            raise AccessSettingsInvalid(f"access.tokens.jwks_file {self._path} cannot be used: {error}") from error
        self._stamp = stamp
        return keys


class TokenAuthenticator:
    """Takes tokens of one issuer, for one audience."""

    def __init__(self, settings: TokenSettings) -> None:
        """Reads the key set, when it is a file.

        Raises:
            AccessSettingsInvalid: It cannot be read.
        """
        self._settings = settings
        self._keys: _KeySet = (
            _FileKeys(settings.jwks_file) if settings.jwks_file else jwt.PyJWKClient(settings.jwks_url, timeout=5)
        )

    async def identify(self, credentials: Credentials) -> Identity | None:
        """See `Authenticator`."""
        token = bearer(credentials)
        if token.count(".") != 2:
            return None
        try:
            # A key set behind an address is fetched here, now and then.
            claims = await asyncio.to_thread(self._claims, token)
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"this token proves nothing: {error}") from None
        return self._identity(claims)

    def _claims(self, token: str) -> dict[str, Any]:
        wanted = self._settings
        return jwt.decode(
            token,
            self._keys.get_signing_key_from_jwt(token),
            algorithms=list(wanted.algorithms),
            issuer=wanted.issuer,
            audience=wanted.audience,
            leeway=wanted.leeway_seconds,
            options={"require": ["exp", "iss", "aud"]},
        )

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        names = self._settings
        name = _claim(claims, names.name_claim)
        if not isinstance(name, str) or not name:
            raise Unauthenticated(f"this token has no claim {names.name_claim!r}")
        given = _claim(claims, names.roles_claim)
        listed = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
        known = {**{str(role): role for role in Role}, **names.roles}
        roles = frozenset(known[each] for each in listed if isinstance(each, str) and each in known)
        tenant = _claim(claims, names.tenant_claim)
        return Identity(name[:_LONGEST], roles, tenant if isinstance(tenant, str) else "", "token")


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim by its name, or by a path into nested ones."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
