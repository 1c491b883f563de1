"""The part of the registry that knows the servers: their leases, what they have ready, and what they are asked for.

It must not know gRPC, files or the engine. Each call is one transaction, and blocks.
"""

from __future__ import annotations

from ratchet_adapters.registry import adapters, checks, readiness, rollouts, servers
from ratchet_adapters.registry.database import Database
from ratchet_adapters.registry.policy import PromotionPolicy
from ratchet_adapters.registry.records import ServerRecord, Wanted

__all__ = ["Fleet"]


class Fleet:
    """What `Registry` does about servers; its class says which errors every method can raise."""

    _database: Database
    _policy: PromotionPolicy

    @property
    def _lease(self) -> float:
        return self._policy.fleet.lease_seconds

    def act_as(self, server: str) -> None:
        """Let what is decided through this object from now on be a server's doing."""
        self._database.decider = server

    def join(self, server: str, name: str) -> None:
        """Let a server be known. It takes no traffic, and no promotion waits for it, until `serve`."""
        checks.text(server, "server", longest=64, empty=False)
        checks.text(name, "name", longest=128, empty=False)
        with self._database.write() as session:
            servers.register(session, server, name, self._lease)

    def beat(self, server: str) -> ServerRecord | None:
        """Renew a server's lease and return where it stands; None when it is known no more and has to join again.

        It waits for no promotion: leases are kept up while one is decided.
        """
        with self._database.append() as session:
            return servers.beat(session, server, self._lease)

    def serve(self, server: str, champion: str) -> bool:
        """Let a server take traffic, if what it has loaded and proven as champion is the champion; say whether."""
        checks.digest(champion, "champion", base=True)
        with self._database.write() as session:
            return servers.serve(session, server, champion, self._lease)

    def leave(self, server: str) -> None:
        """Forget a server that stops."""
        with self._database.write() as session:
            servers.leave(session, server)

    def standing(self, server: str) -> ServerRecord | None:
        """Return where a server stands; None when it is not known."""
        with self._database.read() as session:
            return servers.standing(session, server)

    def servers(self, limit: int = 100) -> list[ServerRecord]:
        """Return up to `limit` (1..1000) servers, newest first, the lost ones of the last day among them."""
        checks.limit(limit)
        with self._database.read() as session:
            return servers.newest(session, limit)

    def wanted(self, server: str) -> list[Wanted]:
        """Return the adapters that every server shall have ready, and what this one has said of each."""
        with self._database.read() as session:
            return readiness.wanted(session, server)

    def propose(self, digest: str, *, expected_champion: str | None, server: str, actor: str, reason: str) -> str:
        """Ask all servers to make an adapter ready, of which `server` has proven that it can serve it.

        Returns:
            The id of the proposal. One that is open for the same adapter is taken over.

        Raises:
            What `promote` would: it is checked before anybody loads anything.
        """
        checks.text(reason, "reason", longest=4096)
        with self._database.write() as session:
            target = adapters.resolve(session, digest)
            rollouts.allowed(session, target, expected_champion, self._policy, checks.actor(actor))
            return readiness.propose(session, target, server, actor, reason)

    def answer(self, digest: str, server: str, *, ready: bool, why: str = "") -> None:
        """Say that a server has loaded and proven an adapter, or why it cannot."""
        checks.digest(digest, "digest")
        with self._database.append() as session:
            readiness.answer(session, digest, server, ready=ready, why=why)

    def retract(self, digest: str, server: str) -> None:
        """Take a server's answer back: it has lost the adapter and has to find out again."""
        with self._database.append() as session:
            readiness.retract(session, digest, server)

    def abandon(self, proposal: str, server: str, why: str) -> None:
        """End a proposal without promotion, unless it has ended or another server has taken it over."""
        with self._database.write() as session:
            readiness.abandon(session, proposal, server, why)

    def abandon_orphans(self, server: str) -> None:
        """End the proposals that the servers which made them left behind and nobody has taken over in time."""
        with self._database.read() as session:
            if not readiness.orphans(session, self._policy.fleet):
                return
        with self._database.write() as session:
            readiness.abandon_orphans(session, self._policy.fleet, server)
