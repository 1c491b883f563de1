"""report.json: every figure the demo printed, computed from the story and nothing else."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ratchet.v1 import learning_pb2
from ratchet_server.demo.loop import Story

if TYPE_CHECKING:
    from ratchet_adapters.evals.result import EvalResult

AXES = ("harmful_refusal", "over_refusal", "toxicity_mean", "nll", "cloze_accuracy")


def figures(story: Story) -> dict[str, Any]:
    """The report's figures: fractions, nats per token, seconds. What was not reached is null."""
    from ratchet_adapters.evals.item import Axis
    from ratchet_adapters.evals.metrics import by_category, headline

    before, after = (headline(result) if result else {} for result in (story.before, story.after))
    gate = story.gate
    return {
        "before": _axes(before),
        "after": _axes(after),
        "by_category": {
            name: {axis.value: by_category(result, axis) for axis in (Axis.HARMFUL_REFUSAL, Axis.OVER_REFUSAL)}
            for name, result in (("before", story.before), ("after", story.after))
            if result is not None
        },
        "items": _items(story.before),
        "with_rails": {"harmful_compliance": None, **story.with_rails},
        "live_probe": {name: _finite(value) for name, value in story.probes.items()},
        "traffic": {
            "requests": len(story.talks),
            "failed": sum(bool(t.error) for t in story.talks),
            "mixed_adapter": len(story.mixed) + len(story.misattributed),
            "attribution_checked": story.attributed,
            "mixtures": [{"adapter": m.talk.digest, "text": m.talk.text, "gap_nats": m.gap_nats} for m in story.mixed],
            "errors": sorted({t.error for t in story.talks if t.error}),
        },
        "swap_seconds": _finite(story.seconds("promote")),
        "rollback_seconds": _finite(story.seconds("rollback")),
        "gate": {
            "outcome": learning_pb2.GateOutcome.Name(gate.outcome)[13:] if gate else None,
            "reason": gate.reason if gate else (story.run.error if story.run else None),
            "axes": [
                {
                    "axis": a.axis,
                    "outcome": learning_pb2.GateOutcome.Name(a.outcome)[13:],
                    "difference": a.difference,
                    "low": a.low,
                    "high": a.high,
                    "margin": a.margin,
                    "items": a.items,
                    "reason": a.reason,
                }
                for a in (gate.axes if gate else ())
            ],
        },
        "reviews": dict(story.reviews),
        "run": {
            "id": story.run.id if story.run else None,
            "adapter": story.run.adapter_digest if story.run else None,
            "dataset": story.run.dataset_digest if story.run else None,
            "losses": [[p.step, p.loss] for p in story.run.losses] if story.run else [],
        },
        "seconds": story.ended - story.started,
    }


def succeeded(report: dict[str, Any]) -> list[str]:
    """What the demo promises and did not keep; empty when all is well. Targets are the gate's, not these."""
    wrong = []
    if report["gate"]["outcome"] != "PASS":
        wrong.append(f"the gate says {report['gate']['outcome']}: {report['gate']['reason']}")
    if report["traffic"]["failed"]:
        wrong.append(f"{report['traffic']['failed']} requests failed: {'; '.join(report['traffic']['errors'])}")
    if report["traffic"]["mixed_adapter"]:
        wrong.append(f"{report['traffic']['mixed_adapter']} answers mix adapters")
    probe = report["live_probe"]
    if probe and not (
        probe.get("rolled back") == probe.get("before")
        and (probe.get("promoted again") or 0) > (probe.get("before") or 0)
    ):
        drift = abs((probe.get("rolled back") or 0) - (probe.get("before") or 0))
        # Greedy bf16 answers vary a little with the batch they are in: more than that is another behaviour.
        if drift > 0.1 or (probe.get("promoted again") or 0) <= (probe.get("before") or 0):
            wrong.append(f"the behaviour did not follow the champion: {probe}")
    return wrong


def _axes(metrics: dict[str, float]) -> dict[str, float | None]:
    return {axis: _finite(metrics.get(axis, math.nan)) for axis in AXES}


def _items(result: EvalResult | None) -> dict[str, int]:
    return {suite.axis.value: len(suite.items) for suite in result.suites} if result else {}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
