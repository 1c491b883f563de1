"""What rollouts report: the step, the arms, the evidence and how they end. Reached as `Metrics.rollouts`.

It must not know who calls it nor decide anything. Steps and ends are read from the database all servers share, so each
server reports the same: aggregate with max. Answers, failures and shadow answers are this server's: aggregate with sum.
"""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from ratchet_server.observability.labels import adapter_label

__all__ = ["RolloutMetrics", "ShadowOutcome"]

ShadowOutcome = Literal["answered", "left_out", "failed"]

_ARMS = ("control", "candidate")
_SHADOW: tuple[ShadowOutcome, ...] = ("answered", "left_out", "failed")
_ENDS = ("completed", "rolled_back", "inconclusive", "withdrawn", "rejected", "superseded")


class RolloutMetrics:
    """The rollout metrics over one registry. Thread-safe; labels are arms, steps and outcomes of closed sets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the metrics, closed label sets at zero: `increase()` does not see a counter that begins at 1."""
        self._stage = Gauge(
            "ratchet_rollout_stage", "1 for the step of the rollout under way: shadow, canary or probation.",
            ("adapter", "stage"), registry=registry,
        )  # fmt: skip
        self._evidence = Gauge(
            "ratchet_rollout_evidence_ratio",
            "Log evidence of the present step over the level that decides; claim is worse or within; at 1 it is shown.",
            ("metric", "claim"), registry=registry,
        )  # fmt: skip
        self._answers = Counter(
            "ratchet_rollout_answers", "Answers counted on an arm of a rollout, by this server.", ("arm",),
            registry=registry,
        )  # fmt: skip
        self._failures = Counter(
            "ratchet_rollout_failures", "Failed requests held against an arm of a rollout, by this server.", ("arm",),
            registry=registry,
        )  # fmt: skip
        self._shadow = Counter(
            "ratchet_rollout_shadow_answers", "Shadow answers of this server: answered, left_out or failed.",
            ("outcome",), registry=registry,
        )  # fmt: skip
        self._ended = Counter(
            "ratchet_rollouts_ended", "Rollouts that ended while this server looked, by outcome.", ("outcome",),
            registry=registry,
        )  # fmt: skip
        self._end = Gauge(
            "ratchet_rollout_end_timestamp_seconds", "Unix time of the last end with this outcome; 0 before the first.",
            ("outcome",), registry=registry,
        )  # fmt: skip
        for arm in _ARMS:
            self._answers.labels(arm)
            self._failures.labels(arm)
        for kept in _SHADOW:
            self._shadow.labels(kept)
        for outcome in _ENDS:
            self._ended.labels(outcome)
            self._end.labels(outcome)

    def answered(self, arm: str) -> None:
        """Count an answer on an arm: control or candidate."""
        self._answers.labels(arm).inc()

    def failed(self, arm: str) -> None:
        """Count a failed request that is held against an arm."""
        self._failures.labels(arm).inc()

    def shadow(self, outcome: ShadowOutcome) -> None:
        """Count a shadow answer that was made, left out for want of room, or failed."""
        self._shadow.labels(outcome).inc()

    def under_way(self, adapter: str, stage: str) -> None:
        """Say in which step a candidate's rollout is; a step before it is over."""
        self._stage.clear()
        self._stage.labels(adapter_label(adapter), stage).set(1)

    def evidence(self, metric: str, *, worse: float, within: float | None) -> None:
        """Say how far the evidence on a metric is: each of its level, None without a margin."""
        self._evidence.labels(metric, "worse").set(worse)
        if within is not None:
            self._evidence.labels(metric, "within").set(within)

    def new_step(self) -> None:
        """Forget the evidence: that of one step says nothing of the next."""
        self._evidence.clear()

    def none_under_way(self) -> None:
        """Say that there is no rollout now."""
        self._stage.clear()
        self._evidence.clear()

    def ended(self, outcome: str, at: float, *, seen: bool = True) -> None:
        """Note the end of a rollout.

        Args:
            outcome: As the registry has it.
            at: Unix time.
            seen: False for one that was over before this server began to look: only its time is told.
        """
        self._end.labels(outcome).set(at)
        if seen:
            self._ended.labels(outcome).inc()
