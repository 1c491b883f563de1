"""Runs become metrics by looking at the registry, each thing counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from ratchet_adapters.registry import Registry, ReportRecord, RunState
from ratchet_server.observability.metrics import Metrics
from ratchet_server.serving import runs
from ratchet_server.serving.runs import RunWatch


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_run_is_counted_once_with_its_gate_and_earlier_ones_not_at_all(
    tmp_path: Path, monkeypatch: object
) -> None:
    monkeypatch.setattr(runs, "POLL_SECONDS", 0.01)  # type: ignore[attr-defined]
    registry = Registry.open(f"sqlite:///{tmp_path}/ratchet.db")
    old = registry.create_run(method="sft-refusal", options={}, requested_by="t")
    registry.update_run(old.id, state=RunState.FAILED, error="x")
    samples = CollectorRegistry()

    def value(name: str, **labels: str) -> float:
        return samples.get_sample_value(name, labels) or 0.0

    task = asyncio.create_task(RunWatch(registry, Metrics(samples)).watch())
    run = registry.create_run(method="sft-refusal", options={}, requested_by="t")
    registry.update_run(run.id, state=RunState.RUNNING, step="train")
    await _until(lambda: value("ratchet_run_progress_timestamp_seconds", method="sft-refusal") > 0)
    registry.add_report(ReportRecord("r", run.id, "sha256:" + "1" * 64, "", "FAIL", "why", {}, datetime.now(UTC)))
    registry.update_run(run.id, report_id="r", step="gate")
    registry.update_run(run.id, state=RunState.SUCCEEDED)
    await _until(lambda: value("ratchet_runs_total", method="sft-refusal", state="succeeded") == 1)
    await asyncio.sleep(0.05)
    task.cancel()
    assert value("ratchet_gate_results_total", outcome="fail") == 1
    assert value("ratchet_runs_total", method="sft-refusal", state="succeeded") == 1
    assert value("ratchet_runs_total", method="sft-refusal", state="failed") == 0
