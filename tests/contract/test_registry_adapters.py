"""Adapters, proofs, runs, reports and datasets: the same on SQLite and PostgreSQL."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.registry import (
    AdapterAmbiguous,
    AdapterNotFound,
    AdapterRecord,
    CurvePoint,
    DatasetNotFound,
    DatasetRecord,
    IdempotencyConflict,
    Proof,
    Registry,
    ReportConflict,
    ReportNotFound,
    ReportRecord,
    RunEnded,
    RunNotFound,
)

Make = Callable[..., AdapterRecord]
MakeReport = Callable[..., ReportRecord]
PROOF = Proof(0.1 + 0.2, 1.5, 3, (0.1, -2.5e-17, 1.0), datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC))


def test_an_adapter_comes_back_exactly_as_it_was_added(registry: Registry, new_adapter: Make) -> None:
    adapter = new_adapter("ünïcödé 🔒", proof=PROOF, alpha=0.1)
    assert registry.add_adapter(adapter, "me") is True
    assert registry.adapter(adapter.digest) == adapter


def test_adding_an_adapter_twice_keeps_the_first_and_one_ledger_entry(registry: Registry, new_adapter: Make) -> None:
    registry.add_adapter(new_adapter("a"), "me")
    assert registry.add_adapter(replace(new_adapter("a"), name="other"), "me") is False
    assert registry.adapter(new_adapter("a").digest).name == "a"
    assert [entry.kind for entry in registry.ledger()] == ["adapter.added"]


def test_an_adapter_is_found_by_prefix_and_alias(registry: Registry, promoted: Callable[[str], str]) -> None:
    first, second = promoted("a"), promoted("b")
    assert registry.adapter(first[:19]).digest == first
    assert registry.adapter(first.removeprefix("sha256:")[:12]).digest == first
    assert registry.adapter("champion").digest == second
    assert registry.adapter("champion").aliases == ("champion",)
    assert registry.adapter("previous").digest == first
    assert registry.resolve("base") == registry.resolve("") == ""


@pytest.mark.parametrize(
    "ref", ["base", "", "champion", "nobody", "sha256:abc", "a" * 11, "%" * 12, "a" * 64, "x\0", "\ud800", "A" * 64]
)
def test_an_unknown_reference_is_not_found(registry: Registry, new_adapter: Make, ref: str) -> None:
    registry.add_adapter(new_adapter("a"), "me")
    with pytest.raises(AdapterNotFound):
        registry.adapter(ref)


def test_an_ambiguous_prefix_is_refused(registry: Registry, new_adapter: Make) -> None:
    for end in "12":
        registry.add_adapter(new_adapter(end, digest="sha256:" + "c" * 63 + end), "me")
    with pytest.raises(AdapterAmbiguous, match="more digits"):
        registry.adapter("c" * 20)


def test_adapters_are_listed_newest_first(registry: Registry, new_adapter: Make) -> None:
    for name in "abc":
        registry.add_adapter(new_adapter(name), "me")
    assert [adapter.name for adapter in registry.adapters(2)] == ["c", "b"]


def test_a_proof_is_recorded_and_replaced(registry: Registry, new_adapter: Make) -> None:
    registry.add_adapter(new_adapter("a"), "me")
    registry.record_proof(new_adapter("a").digest, replace(PROOF, prompts=1))
    assert registry.record_proof(new_adapter("a").digest, PROOF).proof == PROOF
    assert registry.adapter(new_adapter("a").digest).proof == PROOF
    with pytest.raises(AdapterNotFound):
        registry.record_proof("sha256:" + "0" * 64, PROOF)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("digest", "sha256:short"), ("digest", ""), ("name", "a\0b"), ("name", "\ud800"), ("name", ""),
        ("rank", -1), ("rank", 2**70), ("size_bytes", 2**63), ("alpha", math.nan), ("alpha", math.inf),
        ("created_at", datetime(2026, 1, 1)), ("target_modules", ("a\0",)), ("base_fingerprint", "x"),
        ("proof", replace(PROOF, mean_delta=math.nan)),
    ],
)  # fmt: skip
def test_a_poisonous_adapter_is_refused_and_nothing_is_written(
    registry: Registry, new_adapter: Make, field: str, value: object
) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.add_adapter(replace(new_adapter("a"), **{field: value}), "me")  # type: ignore[arg-type]
    assert caught.value.field.startswith(field)
    assert registry.adapters() == []
    assert registry.ledger() == []


def test_a_time_of_another_zone_comes_back_as_the_same_instant(registry: Registry, new_adapter: Make) -> None:
    when = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    registry.add_adapter(new_adapter("a", created_at=when), "me")
    assert registry.adapter(new_adapter("a").digest).created_at == when


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30, True])
def test_a_limit_out_of_range_is_refused(registry: Registry, limit: int) -> None:
    for call in (registry.adapters, registry.runs):
        with pytest.raises(InvalidInput):
            call(limit)


def test_a_run_goes_from_queued_to_its_end(registry: Registry) -> None:
    run = registry.create_run(method="sft-refusal", options={"steps": 3, "rate": 0.1}, requested_by="me")
    assert (run.state, run.ended_at, run.options) == ("QUEUED", None, {"steps": 3, "rate": 0.1})
    claimed = registry.claim_next_run()
    assert claimed is not None
    assert (claimed.id, claimed.state) == (run.id, "RUNNING")
    assert registry.claim_next_run() is None
    registry.update_run(
        run.id,
        step="train",
        progress=0.5,
        curve=[CurvePoint(1, 2.5, {"kl": 0.1}), CurvePoint(2, math.nan)],
        detail="2/4",
    )
    seen = registry.run(run.id)
    assert (seen.step, seen.progress, seen.curve[0]) == ("train", 0.5, (1, 2.5, {"kl": 0.1}))
    assert math.isnan(seen.curve[1].loss)
    ended = registry.update_run(run.id, state="SUCCEEDED")
    assert ended.ended_at is not None
    assert registry.runs(10) == [registry.run(run.id)] or math.isnan(seen.curve[1].loss)


def test_an_ended_run_does_not_change_but_hears_its_end_again(registry: Registry) -> None:
    run = registry.create_run(method="m", options={}, requested_by="me")
    ended = registry.update_run(run.id, state="FAILED", error="no \0 disk \ud800")
    assert ended.error == "no \\0 disk \\ud800"
    assert registry.update_run(run.id, state="FAILED") == ended
    with pytest.raises(RunEnded):
        registry.update_run(run.id, state="RUNNING")
    with pytest.raises(RunEnded):
        registry.update_run(run.id, step="train")


@pytest.mark.parametrize(
    "fields",
    [{"state": "DONE"}, {"progress": 1.5}, {"progress": math.nan}, {"id": "x"}, {"adapter_digest": "x"},
     {"curve": [("a", "b")]}, {"curve": 3}, {"state": "QUEUED"}],
)  # fmt: skip
def test_a_wrong_change_of_a_run_is_refused(registry: Registry, fields: dict[str, object]) -> None:
    run = registry.create_run(method="m", options={}, requested_by="me")
    registry.claim_next_run()
    with pytest.raises(InvalidInput):
        registry.update_run(run.id, **fields)
    assert registry.run(run.id).state == "RUNNING"


def test_an_idempotency_key_makes_one_run(registry: Registry) -> None:
    first = registry.create_run(method="m", options={"a": 1}, requested_by="me", idempotency_key="k")
    assert registry.create_run(method="m", options={"a": 1}, requested_by="me", idempotency_key="k") == first
    with pytest.raises(IdempotencyConflict) as caught:
        registry.create_run(method="m", options={"a": 2}, requested_by="me", idempotency_key="k")
    assert caught.value.run_id == first.id
    assert len(registry.runs()) == 1


def test_concurrent_claims_give_each_run_to_one_caller(registry: Registry) -> None:
    created = {registry.create_run(method="m", options={}, requested_by="me").id for _ in range(8)}
    claimed: list[str] = []

    def claim() -> None:
        while (run := registry.claim_next_run()) is not None:
            claimed.append(run.id)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 8
    assert set(claimed) == created


@pytest.mark.parametrize("run_id", ["nobody", "", "a\0", "\ud800"])
def test_an_unknown_run_or_report_is_not_found(registry: Registry, run_id: str) -> None:
    with pytest.raises(RunNotFound):
        registry.run(run_id)
    with pytest.raises(RunNotFound):
        registry.update_run(run_id, progress=0.1)
    with pytest.raises(ReportNotFound):
        registry.report(run_id)
    with pytest.raises(ReportNotFound):
        registry.report_for_run(run_id)


def test_a_report_comes_back_and_never_changes(registry: Registry, new_report: MakeReport) -> None:
    report = new_report("sha256:" + "a" * 64, "", "INCONCLUSIVE", run_id="run-9")
    assert registry.add_report(report) is True
    assert registry.add_report(report) is False
    assert registry.report(report.id) == registry.report_for_run("run-9") == report
    with pytest.raises(ReportConflict):
        registry.add_report(replace(report, outcome="PASS"))
    with pytest.raises(InvalidInput):
        registry.add_report(new_report("sha256:" + "a" * 64, "", "MAYBE"))
    with pytest.raises(InvalidInput):
        registry.add_report(new_report("sha256:" + "a" * 64, "", body={"x": math.nan}))


def test_a_dataset_comes_back_with_its_lineage(registry: Registry) -> None:
    dataset = DatasetRecord("sha256:" + "d" * 64, "run-1", ("f1", "f2"), {"refusal": 2}, datetime.now(UTC))
    assert registry.add_dataset(dataset) is True
    assert registry.add_dataset(dataset) is False
    assert registry.dataset(dataset.digest) == dataset
    with pytest.raises(DatasetNotFound):
        registry.dataset("sha256:" + "e" * 64)
    with pytest.raises(InvalidInput):
        registry.add_dataset(replace(dataset, digest="d"))
