"""Puts the lineage of an adapter together from the registry, the artifact store and the ledger.

It must not make anything up: what is not recorded is a gap, and what contradicts the ledger is an error.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratchet_adapters.artifacts import ArtifactMissing, ArtifactStore
from ratchet_adapters.artifacts.adapter_files import PROVENANCE
from ratchet_adapters.artifacts.digest import bytes_digest, canonical_json
from ratchet_adapters.artifacts.manifest import Manifest
from ratchet_adapters.datasets.dataset import Dataset, read_dataset
from ratchet_adapters.provenance.chain import entries
from ratchet_adapters.provenance.document import Adapter, Code, Data, File, Gate, Lineage, Source, Training
from ratchet_adapters.provenance.environment import code_version
from ratchet_adapters.provenance.errors import LedgerBroken, LineageBroken
from ratchet_adapters.provenance.events import story_of
from ratchet_adapters.registry import AdapterRecord, Registry, RunRecord

__all__ = ["dataset_of", "lineage_of"]

_CHECKS = (
    "caps", "categories", "dropped", "embedded", "guarded_digest", "label_check", "leak_check", "pii", "quarantined",
    "settings", "seed_suites_digest", "template_bank_digest", "too_few_signals",
)  # fmt: skip


def lineage_of(registry: Registry, artifacts: ArtifactStore, ref: str) -> Lineage:
    """Return the lineage of an adapter.

    Args:
        registry: With its ledger, which is verified first.
        artifacts: Holds the adapter's folder; its dataset's when there is one.
        ref: Digest, prefix of 12 hex digits or alias.

    Raises:
        AdapterNotFound, AdapterAmbiguous: As `Registry.adapter`.
        ArtifactMissing, ArtifactCorrupt: The adapter's folder is gone or damaged.
        DatasetInvalid: The dataset's files contradict each other.
        LedgerBroken: The ledger does not verify.
        LineageBroken: What is stored contradicts the ledger, or the adapter names another dataset than its run.
    """
    check = registry.verify_ledger()
    if not check.ok:
        raise LedgerBroken(check.first_bad_seq, check.reason)
    record = registry.adapter(ref)
    folder = artifacts.fetch(record.digest)
    own = _own_words(folder, record.digest)
    run = registry.run(record.run_id) if record.run_id else None
    gaps: list[str] = []
    data = _data(registry, artifacts, record, run, own, gaps)
    story = story_of(
        entries(registry),
        adapter=record.digest,
        run_id=record.run_id,
        dataset=data.digest if data else "",
        flags=frozenset(data.flags if data else ()),
    )
    _check_record(record, story.added)
    gates = tuple(_gate(registry, record.digest, name, *at) for name, at in story.reports.items())
    training, trained_with = _training(run, own, gaps), own.get("code")
    if not isinstance(trained_with, dict):
        trained_with = None
        gaps.append("The code version it was trained with is not recorded.")
    if not gates:
        gaps.append("No gate report on it is in the ledger.")
    if record.proof is None:
        gaps.append("The engine has not proven that it changes anything.")
    return Lineage(
        adapter=_adapter(record, folder),
        training=training,
        data=data,
        code=Code(trained_with=trained_with, written_with=dict(code_version())),
        gates=gates,
        approvals=tuple(story.approvals),
        ledger=tuple(story.entries),
        gaps=tuple(gaps),
    ).sealed()


def dataset_of(artifacts: ArtifactStore, lineage: Lineage) -> Dataset | None:
    """Return the dataset a lineage names, or None when it names none or the store no longer has it."""
    if lineage.data is None or not lineage.data.manifest_digest:
        return None
    return read_dataset(artifacts.fetch(lineage.data.digest))


def _check_record(record: AdapterRecord, added: Mapping[str, Any] | None) -> None:
    if added is None:
        raise LineageBroken(record.digest, "the registry holds it and no entry of the ledger says who added it")
    for name in ("name", "run_id", "rank"):
        if added[name] != (found := getattr(record, name)):
            raise LineageBroken(
                record.digest, f"the registry says {name} {found!r}, and the ledger {added[name]!r} when it was added"
            )


def _own_words(folder: Path, digest: str) -> dict[str, Any]:
    """What the adapter says of itself; its digest vouches that nobody changed it since, not that it is true."""
    path = folder / PROVENANCE
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise LineageBroken(digest, f"its {PROVENANCE} is not JSON") from error
    if not isinstance(value, dict):
        raise LineageBroken(digest, f"its {PROVENANCE} is not a JSON object")
    return value


def _adapter(record: AdapterRecord, folder: Path) -> Adapter:
    proof = None
    if record.proof is not None:
        proof = {
            "mean_delta": record.proof.mean_delta,
            "max_delta": record.proof.max_delta,
            "prompts": record.proof.prompts,
            "proven_at": record.proof.proven_at.isoformat(),
        }
    return Adapter(
        digest=record.digest,
        name=record.name,
        base_fingerprint=record.base_fingerprint,
        rank=record.rank,
        alpha=record.alpha,
        target_modules=record.target_modules,
        size_bytes=record.size_bytes,
        created_by=record.created_by,
        created_at=record.created_at.isoformat(),
        files=tuple(File(name=one.name, sha256=one.sha256, size=one.size) for one in Manifest.read(folder).files),
        proof=proof,
    )


def _training(run: RunRecord | None, own: Mapping[str, Any], gaps: list[str]) -> Training | None:
    recipe, parents = own.get("settings"), own.get("inputs")
    recipe = recipe if isinstance(recipe, dict) else {}
    if run is None and not own.get("method"):
        gaps.append("It was uploaded: no run made it, and it does not say how it was trained.")
        return None
    if not recipe:
        gaps.append("Its recipe is not recorded.")
    if run is None:
        gaps.append("It was uploaded: no run of this registry made it, and its recipe is its own word.")
    elif own.get("method") not in (None, run.method):
        raise LineageBroken(run.adapter_digest, f"it says {own['method']!r} made it, and its run says {run.method!r}")
    seed = recipe.get("seed")
    last = run.curve[-1].loss if run and run.curve else None
    return Training(
        run_id=run.id if run else "",
        method=run.method if run else str(own.get("method")),
        recipe=recipe,
        seed=seed if isinstance(seed, int) else None,
        options=run.options if run else {},
        requested_by=run.requested_by if run else "",
        started_at=run.created_at.isoformat() if run else "",
        ended_at=run.ended_at.isoformat() if run and run.ended_at else "",
        state=run.state if run else "",
        steps=run.curve[-1].step if run and run.curve else 0,
        last_loss=last if last is not None and math.isfinite(last) else None,
        parents=tuple(one for one in parents if isinstance(one, dict)) if isinstance(parents, list) else (),
    )


def _data(
    registry: Registry,
    artifacts: ArtifactStore,
    record: AdapterRecord,
    run: RunRecord | None,
    own: Mapping[str, Any],
    gaps: list[str],
) -> Data | None:
    if run is None or not run.dataset_digest:
        gaps.append("The data it was taught is not in this registry.")
        return None
    known = registry.dataset(run.dataset_digest)
    try:
        dataset = read_dataset(artifacts.fetch(run.dataset_digest))
    except ArtifactMissing:
        gaps.append("The dataset's files are not in the artifact store: its sources and licences are not known here.")
        return Data(
            digest=known.digest,
            manifest_digest="",
            datasheet_digest="",
            rows_digest="",
            counts=known.counts,
            sources=(),
            flags=known.flag_ids,
            checks={},
        )
    named = own.get("dataset_digest")
    if named not in (None, dataset.digest):
        raise LineageBroken(record.digest, f"it names the dataset {named}, and its run used {dataset.digest}")
    manifest = dataset.manifest
    if tuple(sorted(known.flag_ids)) != dataset.flag_ids:
        raise LineageBroken(record.digest, "the registry names other flags for its dataset than the dataset does")
    sources = manifest.get("sources")
    if not sources:
        gaps.append("The dataset's manifest names no sources.")
    return Data(
        digest=known.digest,
        manifest_digest=dataset.digest,
        datasheet_digest=str(manifest.get("datasheet_digest", "")),
        rows_digest=str(manifest.get("rows_digest", "")),
        counts=known.counts,
        sources=tuple(Source(**{key: one[key] for key in Source.model_fields}) for one in sources or ()),
        flags=dataset.flag_ids,
        checks={name: manifest[name] for name in _CHECKS if name in manifest},
    )


def _gate(registry: Registry, adapter: str, report_id: str, seq: int, body_digest: str, outcome: str) -> Gate:
    report = registry.report(report_id)
    if bytes_digest(canonical_json(report.body).encode()) != body_digest or report.outcome != outcome:
        raise LineageBroken(adapter, f"gate report {report_id} was changed after entry {seq} of the ledger recorded it")
    body = report.body
    flips = body.get("flips") or []
    return Gate(
        report_id=report.id,
        champion_digest=report.champion_digest,
        outcome=report.outcome,
        reason=report.reason,
        created_at=report.created_at.isoformat(),
        policy=body.get("policy") or {},
        policy_digest=str(body.get("policy_digest") or ""),
        axes=tuple(body.get("axes") or ()),
        suites=tuple(body.get("suites") or ()),
        flips_better=sum(bool(flip.get("better")) for flip in flips),
        flips_worse=sum(not flip.get("better") for flip in flips),
        body_digest=body_digest,
        ledger_seq=seq,
    )
