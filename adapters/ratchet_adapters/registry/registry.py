"""The registry: adapters, routing, runs, reports, datasets and the ledger, each call one transaction.

It must not know gRPC, files or the engine. Calls block: asyncio callers use `asyncio.to_thread`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from ratchet_adapters.registry import adapters, checks, datasets, ledger, reports, runs
from ratchet_adapters.registry.database import Database
from ratchet_adapters.registry.fleet import Fleet
from ratchet_adapters.registry.migration import migrate
from ratchet_adapters.registry.policy import PromotionPolicy
from ratchet_adapters.registry.promotions import Promotions
from ratchet_adapters.registry.records import (
    AdapterRecord,
    DatasetRecord,
    LedgerCheck,
    LedgerEntry,
    Proof,
    ReportRecord,
    RunRecord,
)

__all__ = ["Registry"]


class Registry(Promotions, Fleet):
    """The registry on one database. Thread-safe; several processes may have the same one open.

    Every method can raise `RegistryUnavailable`, and every one that writes `RegistryFull`, with nothing changed; every
    one raises `InvalidInput` for a value that can never be stored.
    """

    def __init__(self, database: Database, *, policy: PromotionPolicy | None = None) -> None:
        """Use a database that has been migrated. Most callers want `Registry.open`."""
        super().__init__(database, policy or PromotionPolicy())

    @classmethod
    def open(cls, url: str, *, busy_timeout_seconds: float = 30.0, policy: PromotionPolicy | None = None) -> Self:
        """Open the registry at a URL, creating or upgrading its tables when needed.

        Args:
            url: `sqlite:///path` or `postgresql://user@host/name`.
            busy_timeout_seconds: How long a writer waits for another.
            policy: What a promotion through this object needs besides a PASS; None: nothing.

        Raises:
            RegistryUnavailable: It cannot be opened.
            RegistryTooNew: A newer version of this program wrote it.
        """
        database = Database(url, busy_timeout_seconds=busy_timeout_seconds)
        try:
            migrate(database)
        except BaseException:
            database.close()
            raise
        return cls(database, policy=policy)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def __enter__(self) -> Self:
        """Return the registry; it is closed when the block ends."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def add_adapter(self, record: AdapterRecord, actor: str) -> bool:
        """Add an adapter; idempotent by digest, the first record stays.

        Returns:
            Whether it was new.
        """
        with self._database.write() as session:
            return adapters.add(session, record, checks.actor(actor))

    def adapter(self, ref: str) -> AdapterRecord:
        """Return the adapter with a digest, a unique prefix of at least 12 hex digits, or an alias.

        Raises:
            AdapterNotFound: There is none, or the alias means the base model.
            AdapterAmbiguous: The prefix fits several.
        """
        with self._database.read() as session:
            return adapters.record(session, ref)

    def resolve(self, ref: str) -> str:
        """Return the digest a reference means; "" for the base model, whose references are "", "base" and any alias
        that points at it.

        Raises: as `adapter`, but not for the base model.
        """
        with self._database.read() as session:
            return adapters.resolve(session, ref)

    def adapters(self, limit: int = 100) -> list[AdapterRecord]:
        """Return up to `limit` (1..1000) adapters, newest first."""
        checks.limit(limit)
        with self._database.read() as session:
            return adapters.newest(session, limit)

    def record_proof(self, digest: str, proof: Proof, actor: str = "server") -> AdapterRecord:
        """Store the newest proof of an adapter.

        Raises:
            AdapterNotFound: No adapter has this digest.
        """
        with self._database.write() as session:
            return adapters.prove(session, digest, proof, checks.actor(actor))

    def create_run(
        self,
        *,
        method: str,
        options: Mapping[str, Any],
        requested_by: str,
        promote_on_pass: bool = False,
        idempotency_key: str = "",
    ) -> RunRecord:
        """Queue a run. The same key and parameters again return the same run.

        Raises:
            IdempotencyConflict: The key was used with other parameters.
        """
        with self._database.write() as session:
            return runs.create(
                session,
                method=method,
                options=options,
                requested_by=requested_by,
                promote_on_pass=promote_on_pass,
                idempotency_key=idempotency_key,
            )

    def claim_next_run(self, actor: str = "learner") -> RunRecord | None:
        """Take the oldest queued run, which becomes RUNNING; None when there is none. No two callers get the same."""
        with self._database.write() as session:
            return runs.claim_next(session, checks.actor(actor))

    def run(self, run_id: str) -> RunRecord:
        """Return a run, or raise RunNotFound."""
        with self._database.read() as session:
            return runs.get(session, run_id)

    def runs(self, limit: int = 100) -> list[RunRecord]:
        """Return up to `limit` (1..1000) runs, newest first."""
        checks.limit(limit)
        with self._database.read() as session:
            return runs.newest(session, limit)

    def update_run(self, run_id: str, *, actor: str = "learner", **fields: Any) -> RunRecord:
        """Change fields of a run: state, step, progress, detail, dataset_digest, adapter_digest, report_id, error,
        curve. `updated_at` and `ended_at` follow by themselves.

        Raises:
            RunNotFound: There is no such run.
            RunEnded: It has ended, and this would change it.
        """
        with self._database.write() as session:
            return runs.update(session, run_id, fields, checks.actor(actor))

    def add_report(self, report: ReportRecord, actor: str = "learner") -> bool:
        """Add a gate report; idempotent by id. Returns whether it was new.

        Raises:
            ReportConflict: Another report has this id.
        """
        with self._database.write() as session:
            return reports.add(session, report, checks.actor(actor))

    def report(self, report_id: str) -> ReportRecord:
        """Return a gate report, or raise ReportNotFound."""
        with self._database.read() as session:
            return reports.get(session, report_id)

    def report_for_run(self, run_id: str) -> ReportRecord:
        """Return the newest gate report of a run, or raise ReportNotFound."""
        with self._database.read() as session:
            return reports.for_run(session, run_id)

    def add_dataset(self, dataset: DatasetRecord, actor: str = "learner") -> bool:
        """Add a dataset version; idempotent by digest. Returns whether it was new."""
        with self._database.write() as session:
            return datasets.add(session, dataset, checks.actor(actor))

    def dataset(self, digest: str) -> DatasetRecord:
        """Return a dataset version, or raise DatasetNotFound."""
        with self._database.read() as session:
            return datasets.get(session, digest)

    def ledger(self, after_seq: int = 0, limit: int = 100) -> list[LedgerEntry]:
        """Return up to `limit` (1..10000) ledger entries in order, from after a number."""
        checks.size(after_seq, "after_seq")
        checks.limit(limit, most=10_000)
        with self._database.read() as session:
            return ledger.entries(session, after_seq, limit)

    def verify_ledger(self) -> LedgerCheck:
        """Check the whole ledger: its chain, its end, and that the routing is what its entries add up to."""
        with self._database.read() as session:
            return ledger.verify(session)
