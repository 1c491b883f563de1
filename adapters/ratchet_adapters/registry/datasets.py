"""Dataset versions and their lineage: which flags, for which run. Written once, never changed.

It must not know the items of a dataset.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from ratchet_adapters.artifacts.digest import is_digest
from ratchet_adapters.registry import checks, ledger
from ratchet_adapters.registry.errors import DatasetNotFound
from ratchet_adapters.registry.models import DatasetRow
from ratchet_adapters.registry.records import DatasetRecord

__all__ = ["add", "get"]


def add(session: Session, dataset: DatasetRecord, actor: str) -> bool:
    """Add a dataset unless its digest is known; say whether it was added."""
    checks.digest(dataset.digest, "digest")
    checks.text(dataset.run_id, "run_id", longest=64)
    checks.instant(dataset.created_at, "created_at")
    for flag_id in dataset.flag_ids:
        checks.text(flag_id, "flag_ids", longest=64, empty=False)
    for name, count in dataset.counts.items():
        checks.size(count, f"counts.{name}")
    counts = checks.json_object(dataset.counts, "counts")
    if session.get(DatasetRow, dataset.digest) is not None:
        return False
    session.add(
        DatasetRow(
            digest=dataset.digest,
            run_id=dataset.run_id,
            flag_ids=list(dataset.flag_ids),
            counts=counts,
            created_at=dataset.created_at,
        )
    )
    payload = {"digest": dataset.digest, "run_id": dataset.run_id, "flags": len(dataset.flag_ids), "counts": counts}
    ledger.append(session, actor, "dataset.added", payload)
    return True


def get(session: Session, digest: str) -> DatasetRecord:
    """Return a dataset by its digest."""
    row = session.get(DatasetRow, digest) if is_digest(digest) else None
    if row is None:
        raise DatasetNotFound(digest)
    return DatasetRecord(row.digest, row.run_id, tuple(row.flag_ids), dict(row.counts), row.created_at)
