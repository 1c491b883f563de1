"""From the name in a request to one adapter digest, and the count of what each digest serves.

Holds the routing table this server acts on. Must not know how adapters are loaded, nor why the table changed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ratchet_adapters.registry import Registry, Routing

BASE = "base"
CHAMPION = "champion"
PREVIOUS = "previous"


@dataclass(frozen=True)
class Route:
    """The adapter chosen for one request, fixed for its whole life. An empty digest is the base model."""

    digest: str
    alias: str


class Router:
    """Resolves names without touching the database for aliases; only digests and prefixes are looked up."""

    def __init__(self, registry: Registry, routing: Routing) -> None:
        self._registry = registry
        self._routing = routing
        self._served: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()

    @property
    def routing(self) -> Routing:
        """The table in force."""
        return self._routing

    def apply(self, routing: Routing) -> bool:
        """Puts a newer table in force; requests in flight keep the route they began with. Older ones are ignored."""
        if routing.version <= self._routing.version:
            return False
        self._routing = routing
        return True

    async def resolve(self, name: str) -> Route:
        """Alias, "base", digest or unique digest prefix; empty means the champion.

        Raises:
            AdapterNotFound: nothing has that name.
        """
        if name in ("", CHAMPION):
            return Route(self._routing.champion, CHAMPION)
        if name == BASE:
            return Route("", BASE)
        if name == PREVIOUS:
            return Route(self._routing.previous, PREVIOUS)
        record = await asyncio.to_thread(self._registry.adapter, name)
        return Route(record.digest, "" if record.digest.startswith(name) or name.startswith("sha256:") else name)

    @contextmanager
    def serving(self, route: Route) -> Iterator[None]:
        """Counts one request while it runs."""
        self._served[route.digest] += 1
        self._in_flight[route.digest] += 1
        try:
            yield
        finally:
            self._in_flight[route.digest] -= 1

    def traffic(self) -> dict[str, tuple[int, int]]:
        """Digest -> (requests served since start, in flight now)."""
        return {digest: (count, self._in_flight[digest]) for digest, count in self._served.items()}

    def routed(self) -> set[str]:
        """Digests an alias points at, the base model left out."""
        return {d for d in (self._routing.champion, self._routing.previous) if d}
