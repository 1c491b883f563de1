"""The part of the registry that says who serves: routing, promotion, rollback, approvals and rollouts.

It must not know gRPC, files or the engine. Each call is one transaction, and blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

from ratchet_adapters.registry import adapters, arms, checks, policy, rollouts, routing
from ratchet_adapters.registry.database import Database
from ratchet_adapters.registry.plan import RolloutPlan
from ratchet_adapters.registry.policy import PromotionPolicy
from ratchet_adapters.registry.records import ArmCount, RolloutRecord, Routing, RoutingChange

__all__ = ["Promotions"]


class Promotions:
    """What `Registry` does about serving; its class says which errors every method can raise."""

    def __init__(self, database: Database, policy: PromotionPolicy) -> None:
        """Use a database that has been migrated."""
        self._database = database
        self._policy = policy

    @property
    def database(self) -> Database:
        """The database, which the flag store shares."""
        return self._database

    @property
    def policy(self) -> PromotionPolicy:
        """What a promotion needs besides a PASS."""
        return self._policy

    def routing(self) -> Routing:
        """Return the routing now."""
        with self._database.read() as session:
            return routing.current(session)

    def routing_changes(self, after: int, upto: int) -> list[RoutingChange]:
        """Return what made each version of the routing over `after` and not over `upto`, in order."""
        with self._database.read() as session:
            return routing.changes(session, checks.size(after, "after"), checks.size(upto, "upto"))

    def promote(
        self, digest: str, *, expected_champion: str | None, actor: str, reason: str, proven_by: str = ""
    ) -> Routing:
        """Make an adapter the champion at once, in one transaction. If it is already, nothing changes.

        Args:
            digest: Digest, prefix or alias of the candidate.
            expected_champion: Digest the champion must have now ("" or "base": the base model); None: any.
            actor: Who.
            reason: Why.
            proven_by: Id of a server that has just proven it and vouches for itself.

        Raises:
            AdapterNotFound: There is no such adapter.
            ChampionChanged: The champion is another one.
            GateRefused: The newest report for it against the present champion is not a PASS.
            RolledBackOnEvidence: A rollout on that report ended badly.
            PromotionFrozen, NotApproved: By policy.
            FleetNotReady: Servers have not answered yet whether they can serve it; `propose` asks them.
            QuorumMissing: Too few servers can serve it.
        """
        checks.text(reason, "reason", longest=4096)
        with self._database.write() as session:
            target = adapters.resolve(session, digest)
            return rollouts.promote(
                session, target, expected_champion, self._policy, checks.actor(actor), reason, proven_by=proven_by
            )

    def rollback(self, *, actor: str, reason: str) -> Routing:
        """Take the newest thing out of service: a candidate in shadow or canary, else the champion, for which the one
        below it on the promotion stack is put back, the base model at the bottom. Needs no report.

        Raises:
            NothingToRollBack: The base model serves alone and nothing is below it.
        """
        checks.text(reason, "reason", longest=4096)
        with self._database.write() as session:
            return rollouts.roll_back(session, checks.actor(actor), reason)

    def approve(self, digest: str, *, approver: str, reason: str = "") -> None:
        """Record that somebody approves the promotion of an adapter on its newest report.

        Raises:
            AdapterNotFound: There is no such adapter.
            GateRefused: There is no PASS against the present champion to approve.
            SelfApproval: It was they who asked for it.
        """
        checks.text(approver, "approver", longest=128, empty=False)
        checks.text(reason, "reason", longest=4096)
        with self._database.write() as session:
            target = adapters.resolve(session, digest)
            policy.approve(session, target, routing.passing(session, target), approver, reason)

    def begin_rollout(self, digest: str, *, plan: RolloutPlan | None = None, actor: str, reason: str) -> RolloutRecord:
        """Begin to put an adapter into service step by step.

        Raises:
            AdapterNotFound: There is no such adapter.
            RolloutActive: Another rollout is under way.
            GateRefused: The newest report for it against the present champion is not a PASS.
            RolledBackOnEvidence: A rollout on that report ended badly.
            PromotionFrozen, NotApproved: By policy.
        """
        checks.text(reason, "reason", longest=4096)
        with self._database.write() as session:
            target = adapters.resolve(session, digest)
            return rollouts.begin(session, target, plan or RolloutPlan(), self._policy, checks.actor(actor), reason)

    def rollout(self, rollout_id: str = "") -> RolloutRecord | None:
        """Return a rollout, or raise RolloutNotFound; without an id the one under way, None when there is none."""
        with self._database.read() as session:
            return rollouts.get(session, rollout_id) if rollout_id else rollouts.active(session)

    def rollouts(self, limit: int = 100) -> list[RolloutRecord]:
        """Return up to `limit` (1..1000) rollouts, newest first."""
        checks.limit(limit)
        with self._database.read() as session:
            return rollouts.newest(session, limit)

    def count_arms(self, counted_by: str, counts: Sequence[ArmCount]) -> None:
        """Store what one process has counted so far of a rollout's arms. Absolute numbers: writing again is safe."""
        with self._database.append() as session:
            arms.write(session, counted_by, counts, on_sqlite=self._database.sqlite_path is not None)

    def count_tenants(self, firsts: Sequence[tuple[str, ArmCount]]) -> None:
        """Store what the first request of each tenant showed, by the tenant's key; a tenant counts once."""
        with self._database.write() as session:
            arms.write_tenants(session, firsts, on_sqlite=self._database.sqlite_path is not None)

    def arm_counts(self, rollout_id: str) -> list[ArmCount]:
        """Return the counts of a rollout's present step, summed over processes, or raise RolloutNotFound."""
        with self._database.read() as session:
            return arms.read(session, rollouts.row(session, rollout_id))
