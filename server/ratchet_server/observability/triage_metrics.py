"""What triage and the instant rail report. Reached as `Metrics.triage`.

It must not know who calls it nor see any text. All of it is this server's own: aggregate with sum.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["TriageMetrics"]

_SAVED = ("triage", "cache")
# Seconds from a flag to the first repeat that was blocked: reviewers are people.
_IMMUNITY_SECONDS = (1, 5, 15, 60, 300, 900, 3600, 14400, 86400, 604800)


class TriageMetrics:
    """The triage metrics over one registry. Thread-safe."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Declare the metrics, closed label sets at zero."""
        self._saved = Counter(
            "ratchet_rail_runs_saved",
            "Rails that did not have to run; why is triage (the prompt is plainly benign) or cache (judged before).",
            ("why",), registry=registry,
        )  # fmt: skip
        self._circuits = Counter(
            "ratchet_rail_circuit_refusals", "Checks that failed at once because the rail had kept failing.",
            registry=registry,
        )  # fmt: skip
        self._contained = Gauge(
            "ratchet_contained_flags", "Flags whose repeats the instant rail blocks.", registry=registry
        )
        self._blocks = Counter(
            "ratchet_contained_repeats_blocked", "Requests the instant rail blocked.", registry=registry
        )
        self._immunity = Histogram(
            "ratchet_flag_to_first_blocked_repeat_seconds", "Time from a flag to the first blocked repeat of it.",
            buckets=_IMMUNITY_SECONDS, registry=registry,
        )  # fmt: skip
        for why in _SAVED:
            self._saved.labels(why)

    def saved(self, why: str, rails: int) -> None:
        """Count rails that did not run; `why` is triage or cache."""
        self._saved.labels(why if why in _SAVED else "triage").inc(rails)

    def circuit_refused(self) -> None:
        """Count a check that failed because a rail's circuit is open."""
        self._circuits.inc()

    def contained(self, flags: int) -> None:
        """Report how many containments are in force here."""
        self._contained.set(flags)

    def repeat_blocked(self) -> None:
        """Count a request the instant rail blocked."""
        self._blocks.inc()

    def immune(self, seconds: float) -> None:
        """Observe the time from a flag to the first blocked repeat of it, once per containment."""
        self._immunity.observe(max(0.0, seconds))
