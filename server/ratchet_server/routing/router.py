"""From the name in a request to one adapter digest, and the count of what each digest serves.

Holds the routing table this server acts on. Must not know how adapters are loaded, nor why the table changed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ratchet_adapters.registry import AdapterNotFound, Registry, Routing
from ratchet_adapters.rollouts.judging import CANDIDATE, CONTROL
from ratchet_server.routing.sticky import WHOLE_BP, Sticky, bucket

BASE = "base"
CHAMPION = "champion"
PREVIOUS = "previous"
CANARY = "canary"
SHADOW = "shadow"


class ServerDrained(Exception):
    """This server takes no traffic now; another one does."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this server takes no traffic: {why}; ask again, another server answers")
        self.why = why


@dataclass(frozen=True)
class Arm:
    """The side a request is counted on, in a step of a rollout.

    Attributes:
        rollout_id, step: Which.
        name: control or candidate.
        tenant: Key of the tenant, when whole tenants were dealt out: then it is one trial; else "".
    """

    rollout_id: str
    step: int
    name: str
    tenant: str = ""


@dataclass(frozen=True)
class Route:
    """The adapter chosen for one request, fixed for its whole life. An empty digest is the base model.

    Attributes:
        digest: The adapter.
        alias: What led to it.
        arm: Where the request counts, when it was dealt out in a rollout.
        shadow: A candidate that shall answer too, unseen; "" for none.
    """

    digest: str
    alias: str
    arm: Arm | None = None
    shadow: str = ""


class Router:
    """Resolves names without touching the database for aliases; only digests and prefixes are looked up."""

    def __init__(self, registry: Registry, routing: Routing) -> None:
        self._registry = registry
        self._routing = routing
        self._closed = ""
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

    def close(self, why: str) -> None:
        """From now on `admit` refuses. Requests in flight go on."""
        self._closed = why

    def open(self) -> None:
        """From now on `admit` lets requests through."""
        self._closed = ""

    def admit(self, route: Route) -> None:
        """Let a request take a route, unless it is traffic and this server takes none.

        One that names an adapter by digest, or the base model, is no traffic: somebody looks at this very server.

        Raises:
            ServerDrained: It takes none.
        """
        if self._closed and route.alias in (CHAMPION, PREVIOUS, CANARY, SHADOW):
            raise ServerDrained(self._closed)

    async def resolve(self, name: str, sticky: Sticky | None = None) -> Route:
        """Alias, "base", digest or unique digest prefix; empty means whoever is due, or the champion without `sticky`.

        Raises:
            AdapterNotFound: nothing has that name.
        """
        if name == "" and sticky is not None:
            return self._dealt(sticky)
        if name in ("", CHAMPION):
            return Route(self._routing.champion, CHAMPION)
        if name in (CANARY, SHADOW):
            if self._routing.split != name:
                raise AdapterNotFound(name, f"there is no {name} now")
            return Route(self._routing.beside, name)
        if name == BASE:
            return Route("", BASE)
        if name == PREVIOUS:
            return Route(self._routing.previous, PREVIOUS)
        record = await asyncio.to_thread(self._registry.adapter, name)
        return Route(record.digest, "" if record.digest.startswith(name) or name.startswith("sha256:") else name)

    def champion(self) -> Route:
        """The champion, outside any rollout's count."""
        return Route(self._routing.champion, CHAMPION)

    def _dealt(self, sticky: Sticky) -> Route:
        now = self._routing
        if not now.split:
            return self.champion()
        place = bucket(now.rollout_id, sticky.key(now.sticky_by))
        # In shadow both adapters answer the same requests, so that tenants cannot tell the arms apart.
        whole = sticky.tenant_key if now.sticky_by == "tenant" and now.split != SHADOW else ""
        candidate, control = (Arm(now.rollout_id, now.step, name, whole) for name in (CANDIDATE, CONTROL))
        if now.split == "canary":
            if place < now.share_bp:
                return Route(now.beside, CANARY, candidate)
            return Route(now.champion, CHAMPION, control)
        if now.split == "holdout":
            # From the other end: what was a canary keeps the adapter it had.
            if place >= WHOLE_BP - now.share_bp:
                return Route(now.beside, PREVIOUS, control)
            return Route(now.champion, CHAMPION, candidate)
        shadow = place < now.share_bp
        return Route(now.champion, CHAMPION, control if shadow else None, now.beside if shadow else "")

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
        return {d for d in (self._routing.champion, self._routing.previous, self._routing.beside) if d}
