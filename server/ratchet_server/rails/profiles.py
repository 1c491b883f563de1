"""The rail profiles a server offers, by name, and which requests still hold which version of one.

It must not know what a profile consists of, nor where it comes from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from ratchet_server.rails.errors import UnknownProfile
from ratchet_server.rails.profile import Profile

__all__ = ["DEFAULT_PROFILE", "OFF_PROFILE", "Offered", "RailProfiles"]

DEFAULT_PROFILE = "default"
OFF_PROFILE = "off"


@dataclass(frozen=True, slots=True)
class Offered:
    """A profile that is offered.

    Attributes:
        loaded_at: Since when this version is.
        in_flight: Requests that hold this version.
        draining: Requests that still hold an earlier one of the same name.
    """

    profile: Profile
    loaded_at: datetime
    in_flight: int
    draining: int


class RailProfiles:
    """Immutable profiles behind names. A request keeps the Profile it got, whatever is put in its place meanwhile.

    Readers never wait: putting a profile in another's place is one assignment. Used from one event loop.
    """

    def __init__(self, profiles: Mapping[str, Profile], default: str = DEFAULT_PROFILE) -> None:
        """Raises UnknownProfile if there is none of the default's name."""
        now = datetime.now(UTC)
        self._offered = {name: (profile, now) for name, profile in profiles.items()}
        self._held: Counter[tuple[str, str]] = Counter()
        self._default = default
        self.get(default)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._offered))

    @property
    def default(self) -> Profile:
        """The profile of requests that name none."""
        return self.get(self._default)

    def get(self, name: str = "") -> Profile:
        """Return a profile; "" is the default one. Raises UnknownProfile."""
        found = self._offered.get(name or self._default)
        if found is None:
            raise UnknownProfile(name or self._default, self.names)
        return found[0]

    @contextmanager
    def holding(self, profile: Profile) -> Iterator[None]:
        """Count a request as holding a profile while it runs."""
        key = (profile.name, profile.version)
        self._held[key] += 1
        try:
            yield
        finally:
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]

    def put(self, profile: Profile) -> None:
        """Offer a profile under its name from now on, in place of one that had it."""
        self._offered = {**self._offered, profile.name: (profile, datetime.now(UTC))}

    def remove(self, name: str) -> None:
        """Offer a profile no longer. It must not be the default one."""
        self._offered = {other: offered for other, offered in self._offered.items() if other != name}

    def offered(self) -> tuple[Offered, ...]:
        """Return all profiles with who holds them, by name."""
        return tuple(self._described(name) for name in self.names)

    def _described(self, name: str) -> Offered:
        profile, loaded_at = self._offered[name]
        holders = {version: count for (holder, version), count in self._held.items() if holder == name}
        current = holders.pop(profile.version, 0)
        return Offered(profile, loaded_at, current, sum(holders.values()))
