"""Adapters in the registry: adding them, finding them by digest, prefix or alias, and their proof.

It must not know files or the engine.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ratchet_adapters.artifacts.digest import is_digest
from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.registry import checks, ledger
from ratchet_adapters.registry.errors import AdapterAmbiguous, AdapterNotFound
from ratchet_adapters.registry.models import AdapterRow
from ratchet_adapters.registry.records import BASE, AdapterRecord, Proof, Routing
from ratchet_adapters.registry.routing import current
from ratchet_adapters.registry.stages import Event, Stage, after, move

__all__ = ["add", "newest", "prove", "record", "resolve"]

_PREFIX = re.compile(r"(?:sha256:)?([0-9a-f]{12,64})")


def add(session: Session, adapter: AdapterRecord, actor: str) -> bool:
    """Add an adapter unless its digest is known; say whether it was added."""
    _check(adapter)
    if session.get(AdapterRow, adapter.digest) is not None:
        return False
    seq = (session.scalar(select(func.max(AdapterRow.seq))) or 0) + 1
    stage = str(Stage.REGISTERED if adapter.proof is None else Stage.PROVEN)
    session.add(
        AdapterRow(
            digest=adapter.digest,
            seq=seq,
            name=adapter.name,
            base_fingerprint=adapter.base_fingerprint,
            rank=adapter.rank,
            alpha=adapter.alpha,
            target_modules=list(adapter.target_modules),
            size_bytes=adapter.size_bytes,
            run_id=adapter.run_id,
            created_by=adapter.created_by,
            created_at=adapter.created_at,
            proof=None if adapter.proof is None else _proof_json(adapter.proof),
            stage=stage,
        )
    )
    payload = {
        "digest": adapter.digest, "name": adapter.name, "run_id": adapter.run_id, "rank": adapter.rank,
        "stages": {adapter.digest: stage},
    }  # fmt: skip
    ledger.append(session, actor, "adapter.added", payload)
    return True


def resolve(session: Session, ref: str) -> str:
    """Return the digest a reference means: a digest, a unique prefix of 12 digits or more, or an alias.

    "" and "base" mean the base model, whose digest is "".
    """
    routing = current(session)
    aliases = {"": "", BASE: "", **_aliases(routing)}
    if ref in aliases:
        return aliases[ref]
    match = _PREFIX.fullmatch(ref)
    if match is None:
        raise AdapterNotFound(ref)
    prefix = f"sha256:{match[1]}"
    # A range, not LIKE: that reads the whole table on SQLite, and on PostgreSQL wherever the collation is not C.
    within = AdapterRow.digest.between(prefix, f"{prefix}g")
    found = session.scalars(select(AdapterRow.digest).where(within).limit(2)).all()
    if not found:
        raise AdapterNotFound(ref)
    if len(found) > 1:
        raise AdapterAmbiguous(ref)
    return found[0]


def record(session: Session, ref: str) -> AdapterRecord:
    """Return the adapter a reference means."""
    digest = resolve(session, ref)
    row = session.get(AdapterRow, digest) if digest else None
    if row is None:
        raise AdapterNotFound(ref, "it is the base model alone, which is no adapter")
    return _record(session, row)


def newest(session: Session, limit: int) -> list[AdapterRecord]:
    """Return the newest adapters first."""
    rows = session.scalars(select(AdapterRow).order_by(AdapterRow.seq.desc()).limit(limit)).all()
    return [_record(session, row) for row in rows]


def prove(session: Session, digest: str, proof: Proof, actor: str) -> AdapterRecord:
    """Store the newest proof of an adapter."""
    _check_proof(proof)
    row = session.get(AdapterRow, digest) if is_digest(digest) else None
    if row is None:
        raise AdapterNotFound(digest)
    row.proof = _proof_json(proof)
    # Proving again what has gone further changes no stage.
    moved = move(session, digest, Event.PROVE) if after(Stage(row.stage), Event.PROVE) else {}
    ledger.append(session, actor, "adapter.proven", {"digest": digest, "mean_delta": proof.mean_delta, "stages": moved})
    session.flush()
    return _record(session, row)


def _check(adapter: AdapterRecord) -> None:
    checks.digest(adapter.digest, "digest")
    checks.text(adapter.name, "name", longest=128, empty=False)
    checks.digest(adapter.base_fingerprint, "base_fingerprint", base=True)
    checks.size(adapter.size_bytes, "size_bytes")
    checks.number(adapter.alpha, "alpha")
    checks.text(adapter.run_id, "run_id", longest=64)
    checks.text(adapter.created_by, "created_by", longest=128)
    checks.instant(adapter.created_at, "created_at")
    if checks.size(adapter.rank, "rank") > 65536:
        raise InvalidInput("rank", "it is over 65536")
    for name in adapter.target_modules:
        checks.text(name, "target_modules", longest=256)
    if adapter.proof is not None:
        _check_proof(adapter.proof)


def _check_proof(proof: Proof) -> None:
    for field in ("mean_delta", "max_delta"):
        checks.number(getattr(proof, field), f"proof.{field}")
    for value in proof.fingerprint:
        checks.number(value, "proof.fingerprint")
    checks.size(proof.prompts, "proof.prompts")
    checks.instant(proof.proven_at, "proof.proven_at")


def _proof_json(proof: Proof) -> dict[str, Any]:
    return {
        "mean_delta": float(proof.mean_delta),
        "max_delta": float(proof.max_delta),
        "prompts": proof.prompts,
        "fingerprint": [float(value) for value in proof.fingerprint],
        "proven_at": proof.proven_at.isoformat(),
    }


def _record(session: Session, row: AdapterRow) -> AdapterRecord:
    aliases = _aliases(current(session))
    proof = None
    if row.proof is not None:
        stored: dict[str, Any] = row.proof
        proof = Proof(
            mean_delta=stored["mean_delta"],
            max_delta=stored["max_delta"],
            prompts=stored["prompts"],
            fingerprint=tuple(stored["fingerprint"]),
            proven_at=datetime.fromisoformat(stored["proven_at"]),
        )
    return AdapterRecord(
        digest=row.digest,
        name=row.name,
        base_fingerprint=row.base_fingerprint,
        rank=row.rank,
        alpha=row.alpha,
        target_modules=tuple(row.target_modules),
        size_bytes=row.size_bytes,
        run_id=row.run_id,
        created_by=row.created_by,
        created_at=row.created_at,
        proof=proof,
        aliases=tuple(alias for alias, digest in aliases.items() if digest == row.digest),
        stage=row.stage,
    )


def _aliases(routing: Routing) -> dict[str, str]:
    aliases = {"champion": routing.champion, "previous": routing.previous}
    if routing.split in {"shadow", "canary"}:
        aliases[routing.split] = routing.beside
    return aliases
