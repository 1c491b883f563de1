"""JSON Web Tokens as credentials, signed by a provider whose key set is a file or behind an address."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jwt

from ratchet_server.access.api_keys import bearer
from ratchet_server.access.errors import AccessSettingsInvalid, KeySetUnavailable, Unauthenticated
from ratchet_server.access.identity import Credentials, Identity, Role
from ratchet_server.access.settings import TokenSettings

__all__ = ["TokenAuthenticator"]

_LONGEST = 128
_AGAIN_SECONDS = 10.0


class _KeySet(Protocol):
    def key_of(self, token: str) -> jwt.PyJWK:
        """Return the key that a token names. Raises PyJWTError when there is none."""
        ...


class _FileKeys:
    """A key set in a file, read again when it changes; while a new one cannot be read, the old one holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] = (0, 0)
        self._set = self._read()

    def key_of(self, token: str) -> jwt.PyJWK:
        """See `_KeySet`."""
        with contextlib.suppress(AccessSettingsInvalid):
            self._set = self._read()
        return _named(token, self._set.keys) or _unknown()

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


class _AddressKeys:
    """A key set behind an address. Tokens with made-up keys cannot make this server ask for it again and again."""

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, timeout=5)
        self._asked = -_AGAIN_SECONDS

    def key_of(self, token: str) -> jwt.PyJWK:
        """See `_KeySet`."""
        found = _named(token, self._client.get_signing_keys())
        if found is None and time.monotonic() - self._asked >= _AGAIN_SECONDS:
            self._asked = time.monotonic()
            found = _named(token, self._client.get_signing_keys(refresh=True))
        return found or _unknown()


def _named(token: str, keys: Sequence[jwt.PyJWK]) -> jwt.PyJWK | None:
    wanted = jwt.get_unverified_header(token).get("kid")
    usable = [key for key in keys if key.public_key_use in (None, "sig")]
    found = [key for key in usable if key.key_id == wanted] if wanted else usable
    return found[0] if len(found) == 1 else None


def _unknown() -> jwt.PyJWK:
    raise jwt.PyJWKClientError("the key set does not have its key")


class TokenAuthenticator:
    """Takes tokens of one issuer, for one audience."""

    def __init__(self, settings: TokenSettings) -> None:
        """Reads the key set, when it is a file.

        Raises:
            AccessSettingsInvalid: It cannot be read.
        """
        self._settings = settings
        self._keys: _KeySet = _FileKeys(settings.jwks_file) if settings.jwks_file else _AddressKeys(settings.jwks_url)

    async def identify(self, credentials: Credentials) -> Identity | None:
        """See `Authenticator`."""
        token = bearer(credentials)
        if token.count(".") != 2:
            return None
        try:
            # A key set behind an address is fetched here, now and then.
            claims = await asyncio.to_thread(self._claims, token)
        except jwt.PyJWKClientConnectionError as error:
            raise KeySetUnavailable(self._settings.jwks_url, str(error)) from error
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"this token proves nothing: {error}") from None
        return self._identity(claims)

    def _claims(self, token: str) -> dict[str, Any]:
        wanted = self._settings
        return jwt.decode(
            token,
            self._keys.key_of(token),
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
