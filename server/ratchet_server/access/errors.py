"""Why a caller is turned away. Says what to do, never what a secret should have been."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["AccessError", "AccessSettingsInvalid", "KeySetUnavailable", "PermissionDenied", "Unauthenticated"]


class AccessError(Exception):
    """Base of the errors of access control."""


class AccessSettingsInvalid(AccessError):
    """The settings of access control cannot work: a file that cannot be read, or what they leave open."""


class KeySetUnavailable(AccessError):
    """A token cannot be judged now: the provider's key set cannot be fetched."""

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"the key set at {url} cannot be fetched: {why}; try again")
        self.url = url


class Unauthenticated(AccessError):
    """No credentials, or none that prove anything."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; send an API key or a token as `authorization: Bearer ...`")
        self.why = why


class PermissionDenied(AccessError):
    """A known caller may not do this."""

    def __init__(self, name: str, what: str, needs: Iterable[str] = ()) -> None:
        roles = " or ".join(sorted(needs))
        super().__init__(f"{name!r} may not {what}" + (f": it needs the role {roles}" if roles else ""))
        self.name = name
        self.what = what
        self.needs = roles
