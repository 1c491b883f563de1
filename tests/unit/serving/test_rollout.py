"""Rollouts become metrics by looking at the registry: each end once, the present step, the evidence for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.routing.conftest import House, build

from ratchet_adapters.registry import METRICS, ArmCount, RolloutPlan, RolloutRecord, RolloutStep
from ratchet_adapters.rollouts.controller import carry_on
from ratchet_server.observability.rollout_metrics import RolloutMetrics
from ratchet_server.serving.rollout import RolloutReport, watch_rollout
from ratchet_server.traffic.arms import ArmCounter

PLAN = RolloutPlan(steps=tuple(RolloutStep(kind=kind, share_bp=1000) for kind in ("canary", "probation")))  # type: ignore[arg-type]


@pytest.fixture
def house(tmp_path: Path) -> House:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return build(tmp_path, scratch)


class Seen:
    """A report, and what it exposes."""

    def __init__(self, house: House) -> None:
        self.samples = CollectorRegistry()
        self.house = house
        self.report = RolloutReport(house.registry, RolloutMetrics(self.samples))

    def look(self, **how: Any) -> None:
        carry_on(self.house.registry, tell=self.report.judged, **how)
        self.report.look()

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get_sample_value(f"ratchet_rollout{name}", labels)


async def begin(house: House) -> RolloutRecord:
    digest = house.add("candidate")
    house.report(digest)
    await house.swaps.begin(digest, PLAN, actor="t", reason="")
    found = house.registry.rollout()
    assert found is not None
    return found


def serve(house: House, rollout: RolloutRecord, *, bad: int, trials: int = 3000) -> None:
    house.registry.count_arms(
        "server",
        [
            ArmCount(rollout.id, rollout.step, arm, metric, trials, bad if arm == "candidate" else 0)
            for arm in ("control", "candidate")
            for metric in METRICS
        ],
    )


async def test_a_rollout_that_rolls_itself_back_is_counted_once_and_leaves_no_step(house: House) -> None:
    rollout, seen = await begin(house), Seen(house)
    label = rollout.candidate.removeprefix("sha256:")[:12]
    seen.look()
    assert seen.value("_stage", adapter=label, stage="canary") == 1
    serve(house, rollout, bad=3, trials=300)
    seen.look()
    first = seen.value("_evidence_ratio", metric="failed", claim="worse")
    within = seen.value("_evidence_ratio", metric="refusal", claim="within")
    assert first is not None and within is not None and first < 1 and within < 1
    assert seen.value("_evidence_ratio", metric="failed", claim="within") is None, "it has no margin"
    serve(house, rollout, bad=900)
    for _ in range(3):
        seen.look()
    assert seen.value("s_ended_total", outcome="rolled_back") == 1
    assert seen.value("s_ended_total", outcome="completed") == 0
    ended = house.registry.rollout(rollout.id)
    assert ended is not None and ended.ended_at is not None
    assert seen.value("_end_timestamp_seconds", outcome="rolled_back") == pytest.approx(ended.ended_at.timestamp())
    assert seen.value("_stage", adapter=label, stage="canary") is None
    assert seen.value("_evidence_ratio", metric="failed", claim="worse") is None
    # A server that starts now knows when, so that the alert outlives it, and counts nothing.
    later = Seen(house)
    later.look()
    assert later.value("_end_timestamp_seconds", outcome="rolled_back") == pytest.approx(ended.ended_at.timestamp())
    assert later.value("s_ended_total", outcome="rolled_back") == 0


async def test_the_next_step_begins_without_the_evidence_of_the_one_before(house: House) -> None:
    rollout, seen = await begin(house), Seen(house)
    label = rollout.candidate.removeprefix("sha256:")[:12]
    seen.look()
    serve(house, rollout, bad=0)
    seen.look()
    assert seen.value("_stage", adapter=label, stage="canary") is None
    assert seen.value("_stage", adapter=label, stage="probation") == 1
    assert seen.value("_evidence_ratio", metric="slow", claim="within") is None
    seen.look(now=rollout.step_since + timedelta(hours=1e4))
    assert seen.value("s_ended_total", outcome="inconclusive") == 1
    assert (seen.value("_end_timestamp_seconds", outcome="inconclusive") or 0) > 0


async def test_the_watch_carries_on_and_reports(house: House) -> None:
    rollout, seen = await begin(house), Seen(house)
    arms = ArmCounter(house.registry)
    watch = watch_rollout(house.registry, house.router, house.swaps, arms, seen.report, seconds=0.01)
    task = asyncio.create_task(watch)
    async with asyncio.timeout(10):
        # It is counted when it ends under the eyes of a server, so that one must have looked before.
        while not seen.value("_evidence_ratio", metric="slow", claim="worse"):
            serve(house, rollout, bad=1, trials=100)
            await asyncio.sleep(0.01)
        serve(house, rollout, bad=900)
        while not seen.value("s_ended_total", outcome="rolled_back"):
            await asyncio.sleep(0.01)
    task.cancel()
