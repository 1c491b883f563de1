"""Which values the labels `adapter` and `profile` may take, so that the number of series stays bounded.

It must not know any metric: it decides on names, and says which name has just lost its place.
"""

from __future__ import annotations

import re

__all__ = ["BASE", "OTHER", "AdapterLabels", "ProfileLabels", "adapter_label"]

BASE = "base"
OTHER = "other"
_HEX = re.compile(r"(?:sha256:)?([0-9a-f]{12})[0-9a-f]*")


def adapter_label(adapter: str) -> str:
    """Return "base", the first 12 hex digits of a digest, or "other" for what is neither.

    Args:
        adapter: "" or "base" for no adapter; otherwise a digest, with or without "sha256:".
    """
    if adapter in ("", BASE):
        return BASE
    match = _HEX.fullmatch(adapter)
    return match.group(1) if match else OTHER


class AdapterLabels:
    """The adapters that have series of their own: the newest ones, and always the champion. Not thread-safe.

    An adapter that lost its place stays "other" until it becomes champion. If it came back with its next request, many
    busy adapters would keep creating and dropping series.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._named: dict[str, None] = {}
        self._retired: set[str] = set()
        self._champion = BASE

    def known(self, adapter: str) -> str:
        """Return the label for an adapter without giving it a place: for names a client may have made up."""
        label = adapter_label(adapter)
        return label if label == BASE or label in self._named else OTHER

    def admit(self, adapter: str) -> tuple[str, str | None]:
        """Return the label for an adapter that exists, and the label that lost its place for it, if any."""
        label = adapter_label(adapter)
        if label in (BASE, OTHER) or label in self._named:
            return label, None
        if label in self._retired:
            return OTHER, None
        return label, self._insert(label)

    def crown(self, adapter: str) -> tuple[str, str | None]:
        """Make an adapter the champion, whose place is safe; return as `admit` does."""
        label = adapter_label(adapter)
        self._champion = label
        if label in (BASE, OTHER) or label in self._named:
            return label, None
        self._retired.discard(label)
        return label, self._insert(label)

    def _insert(self, label: str) -> str | None:
        self._named[label] = None
        if len(self._named) <= self._limit:
            return None
        oldest = next(name for name in self._named if name != self._champion)
        del self._named[oldest]
        self._retired.add(oldest)
        return oldest


class ProfileLabels:
    """The rail profiles that have series of their own: the first ones seen. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._named: set[str] = set()

    def known(self, profile: str) -> str:
        """Return the label for a profile name without giving it a place."""
        return profile if profile in self._named else OTHER

    def admit(self, profile: str) -> str:
        """Return the label for a profile that exists."""
        if profile not in self._named and len(self._named) < self._limit:
            self._named.add(profile)
        return self.known(profile)
