"""The ledger: every change of state as an entry that carries the hash of the one before.

It must not know what a change means, except that the routing and the stages it explains must be those there are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ratchet_adapters.artifacts.digest import canonical_json
from ratchet_adapters.registry.models import AdapterRow, LedgerHeadRow, LedgerRow, RoutingRow
from ratchet_adapters.registry.records import LedgerCheck, LedgerEntry

__all__ = ["GENESIS", "ROUTING_KINDS", "append", "beside_json", "entries", "entry_hash", "verify"]

GENESIS = "0" * 64
ROUTING_KINDS = ("routing.promoted", "routing.rolled_back", "routing.split")
_PAGE = 500


def entry_hash(previous_hash: str, seq: int, time: str, actor: str, kind: str, payload: Any) -> str:
    """Return the SHA-256 of the canonical JSON of an entry, in hex."""
    fields = {
        "previous_hash": previous_hash, "seq": seq, "time": time, "actor": actor, "kind": kind, "payload": payload,
    }  # fmt: skip
    return hashlib.sha256(canonical_json(fields).encode()).hexdigest()


def append(session: Session, actor: str, kind: str, payload: dict[str, Any]) -> None:
    """Add an entry in the caller's transaction. The caller must be the only writer."""
    head = session.get(LedgerHeadRow, 1)
    if head is None:
        head = LedgerHeadRow(id=1, seq=0, hash=GENESIS)
        session.add(head)
    seq, time = head.seq + 1, datetime.now(UTC).isoformat(timespec="microseconds")
    row = LedgerRow(
        seq=seq,
        time=time,
        actor=actor,
        kind=kind,
        payload=canonical_json(payload),
        previous_hash=head.hash,
        hash=entry_hash(head.hash, seq, time, actor, kind, payload),
    )
    session.add(row)
    head.seq, head.hash = seq, row.hash


def beside_json(row: RoutingRow) -> dict[str, Any] | None:
    """Return who takes part beside the champion in a state of the routing; None when nobody does."""
    if not row.split:
        return None
    return {
        "split": row.split, "digest": row.beside, "share_bp": row.share_bp, "sticky_by": row.sticky_by,
        "rollout_id": row.rollout_id, "step": row.step,
    }  # fmt: skip


def entries(session: Session, after_seq: int, limit: int) -> list[LedgerEntry]:
    """Return entries in order, from after a number."""
    rows = session.scalars(select(LedgerRow).where(LedgerRow.seq > after_seq).order_by(LedgerRow.seq).limit(limit))
    return [
        LedgerEntry(
            row.seq, datetime.fromisoformat(row.time), row.actor, row.kind, json.loads(row.payload), row.previous_hash,
            row.hash,
        )
        for row in rows
    ]  # fmt: skip


def verify(session: Session) -> LedgerCheck:
    """Check the chain from its first entry to its head, and the routing against it."""
    count, expected = 0, GENESIS
    states: list[tuple[int, str, dict[str, Any] | None]] = [(0, "", None)]
    stages: dict[str, str] = {}
    for row in _rows(session):
        if why := _fault(row, count + 1, expected):
            return LedgerCheck(False, count, row.seq, why)
        count, expected = count + 1, row.hash
        payload = json.loads(row.payload)
        stages |= payload.get("stages", {})
        if row.kind in ROUTING_KINDS:
            states.append((payload["version"], payload["champion"], payload.get("beside")))
    heads = session.scalars(select(LedgerHeadRow)).all()
    found = [(head.id, head.seq, head.hash) for head in heads]
    if found != ([(1, count, expected)] if count else []):
        return LedgerCheck(False, count, count + 1, "the ledger's head names another last entry: its end was changed")
    routing = session.scalars(select(RoutingRow).order_by(RoutingRow.version))
    if [(row.version, row.champion, beside_json(row)) for row in routing] != states:
        return LedgerCheck(False, count, count, "the routing table is not what the ledger's promotions add up to")
    if dict(session.execute(select(AdapterRow.digest, AdapterRow.stage)).tuples().all()) != stages:
        return LedgerCheck(False, count, count, "the adapters' stages are not what the ledger's entries add up to")
    return LedgerCheck(True, count, None, "")


def _rows(session: Session) -> Iterator[LedgerRow]:
    last = None
    while True:
        query = select(LedgerRow).order_by(LedgerRow.seq).limit(_PAGE)
        page = session.scalars(query if last is None else query.where(LedgerRow.seq > last)).all()
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1].seq
        session.expunge_all()


def _fault(row: LedgerRow, seq: int, expected: str) -> str:
    if row.seq != seq:
        return f"entry {seq} is missing"
    if row.previous_hash != expected:
        return "it does not carry the hash of the entry before"
    try:
        payload = json.loads(row.payload)
        if canonical_json(payload) != row.payload:
            return "its payload is not in the form it was written in"
    except (ValueError, TypeError):
        return "its payload is not JSON"
    if entry_hash(row.previous_hash, row.seq, row.time, row.actor, row.kind, payload) != row.hash:
        return "its hash does not fit its content"
    return ""
