"""A registry on real SQLite and a local artifact store, with one adapter that went from flag to champion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.artifacts.local import LocalStore
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.datasets.datasheet import datasheet_digest
from ratchet_adapters.evals.gates.report import AxisResult, Flip, GateOutcome, GateReport, SuiteNote
from ratchet_adapters.flags import FlagStore, Message, NewFlag
from ratchet_adapters.provenance.keys import new_keys
from ratchet_adapters.provenance.signing import Ed25519Signer, Ed25519Verifier
from ratchet_adapters.registry import (
    AdapterRecord,
    CurvePoint,
    DatasetRecord,
    Proof,
    Registry,
    ReportRecord,
    RunState,
)

BASE = "sha256:" + "b" * 64
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@dataclass
class World:
    """What the tests work on. `learned` was taught and promoted; `uploaded` was only registered."""

    registry: Registry
    artifacts: LocalStore
    state: Path
    learned: str
    uploaded: str
    flag: str


def write_adapter(folder: Path, provenance: dict[str, Any] | None) -> Path:
    """Write the files of an adapter; nothing here reads the weights."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"r": 4}')
    (folder / "adapter_model.safetensors").write_bytes(folder.name.encode() * 100)
    if provenance is not None:
        (folder / "ratchet.json").write_text(json.dumps(provenance))
    return folder


def _dataset(flag: str) -> Dataset:
    rows = (
        Row("r1", RowKind.REFUSAL, Split.TRAIN, "fraud", "how to steal", "No.", "flag", (flag,), 0, "Sure"),
        Row("c1", RowKind.CONTRAST, Split.TRAIN, "fraud", "how to save", "Put it aside.", "seed", (), 1),
    )
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "rows_digest": rows_digest(rows),
        "flag_ids": [flag],
        "counts": {"refusal": 1, "contrast": 1},
        "sources": [
            {"name": "prompts of reviewed flags", "licence": "not licensed | to others", "rows": 1, "digest": ""},
            {"name": "seed prompts", "licence": "Apache-2.0", "rows": 1, "digest": BASE},
        ],
        "caps": {"max_items_per_principal": 20, "most_rows_of_one_principal": 1},
        "pii": {"email": 2},
        "quarantined": [],
        "leak_check": {
            "rows": 2, "suites": {}, "jaccard": 0.7, "cosine": None, "leaked_rows": 0, "pairs": 0, "listed": [],
        },
        "label_check": {"made": False, "why_not": "too few items", "checked": 0, "issues": []},
    }  # fmt: skip
    return Dataset(rows, {**manifest, "datasheet_digest": datasheet_digest(manifest)})


def gate_report(candidate: str) -> GateReport:
    """A report as the gate writes it."""
    axis = AxisResult(
        "harmful_refusal", GateOutcome.PASS, 0.1, 0.9, 0.8, 0.7, 0.9, 0.0, 50, "it rose", p_value=0.001, bound=0.7
    )
    return GateReport(
        id="report-1",
        candidate_digest=candidate,
        champion_digest="",
        outcome=GateOutcome.PASS,
        reason="",
        axes=(axis,),
        created_at=NOW.isoformat(),
        policy={"alpha": 0.05},
        policy_digest=BASE,
        suites=(SuiteNote("seed-harmful", "1", "harmful_refusal", "refusal", 50),),
        flips=(Flip("harmful_refusal", "seed-harmful", "i1", "fraud", "p", "Sure", "No.", "comply", "refuse", True),),
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    state = tmp_path / "state"
    with Registry.open(f"sqlite:///{state / 'ratchet.db'}") as registry:
        yield build_world(registry, LocalStore(state / "artifacts"), state)


def build_world(registry: Registry, artifacts: LocalStore, state: Path) -> World:
    """Take one adapter from a flag to champion, through the same calls as the product makes."""
    flags = FlagStore.open(registry)
    (flag,) = flags.submit(
        [NewFlag("HARMFUL", "USER", "user-1", messages=(Message("user", "how to steal"),), completion="Sure")]
    )
    flags.review(flag, "ACCEPT", reviewer="ann", note="clear")
    run = registry.create_run(method="sft-refusal", options={"training.epochs": 2}, requested_by="ops")
    registry.claim_next_run()
    dataset = _dataset(flag)
    digest = artifacts.put_folder(dataset.write(state / "work" / "dataset"))
    registry.add_dataset(DatasetRecord(digest, run.id, dataset.flag_ids, dict(dataset.manifest["counts"]), NOW))
    registry.update_run(run.id, dataset_digest=digest, curve=[CurvePoint(1, 2.5), CurvePoint(2, 1.25)])
    own = {
        "base_fingerprint": BASE,
        "dataset_digest": dataset.digest,
        "method": "sft-refusal",
        "settings": {"seed": 7, "rank": 4, "learning_rate": 0.001},
    }
    learned = artifacts.put_folder(write_adapter(state / "work" / "learned", own))
    registry.add_adapter(_record(learned, "sft-refusal-1", run.id, "learner"), "learner")
    registry.record_proof(learned, Proof(0.25, 1.5, 8, (0.25,), NOW))
    report = gate_report(learned)
    registry.add_report(ReportRecord(report.id, run.id, learned, "", "PASS", "", report.to_dict(), NOW))
    registry.update_run(run.id, adapter_digest=learned, report_id=report.id)
    registry.update_run(run.id, state=RunState.SUCCEEDED)
    registry.promote(learned, expected_champion="base", actor="bob", reason="it | passed")
    uploaded = artifacts.put_folder(write_adapter(state / "work" / "uploaded", None))
    registry.add_adapter(_record(uploaded, "by-hand", "", "carol"), "carol")
    return World(registry, artifacts, state, learned, uploaded, flag)


def _record(digest: str, name: str, run_id: str, by: str) -> AdapterRecord:
    return AdapterRecord(digest, name, BASE, 4, 8.0, ("q_proj", "v_proj"), 1234, run_id, by, NOW)


@dataclass
class KeyPair:
    """A key pair in files."""

    private: Path
    public: Path
    key_id: str

    @property
    def signer(self) -> Ed25519Signer:
        return Ed25519Signer.read(self.private)

    @property
    def verifier(self) -> Ed25519Verifier:
        return Ed25519Verifier.read([self.public])


@pytest.fixture
def keys(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path, "release")


@pytest.fixture
def stranger(tmp_path: Path) -> KeyPair:
    return make_keys(tmp_path, "stranger")


def make_keys(folder: Path, name: str) -> KeyPair:
    private, public = folder / f"{name}.key.pem", folder / f"{name}.pub.pem"
    return KeyPair(private, public, new_keys(private, public))
