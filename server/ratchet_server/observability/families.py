"""Every metric family Ratchet exposes: name, help, labels and buckets, declared in this one place.

It must not know when they change; `metrics.py` does. Dashboards and alert rules may use only what is declared here.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["EngineFamilies", "LearningFamilies", "ServingFamilies", "SwapFamilies"]

_BY = ("adapter", "profile")
# Seconds. From one cached token on a GPU to a long answer of a CPU under load.
_REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_FIRST_TOKEN_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 5, 8, 15, 30, 60)
_TOKEN_SECONDS = (0.0025, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
_RAIL_SECONDS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_SWAP_SECONDS = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30)
_LOAD_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_STEP_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 43200)
_UNIT_INTERVAL = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class ServingFamilies:
    """What requests report, by adapter and rail profile."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "ratchet_requests", "Ended requests; failed ones have finish_reason error.", (*_BY, "finish_reason"),
            registry=registry,
        )  # fmt: skip
        self.errors = Counter(
            "ratchet_request_errors", "Failed requests, by gRPC status code.", (*_BY, "code"), registry=registry
        )
        self.in_flight = Gauge("ratchet_requests_in_flight", "Requests started and not ended.", _BY, registry=registry)
        self.tokens = Counter(
            "ratchet_tokens", "Tokens of finished requests; kind is prompt or completion.", (*_BY, "kind"),
            registry=registry,
        )  # fmt: skip
        self.duration = Histogram(
            "ratchet_request_duration_seconds", "Whole time of finished requests, rails included.", _BY,
            buckets=_REQUEST_SECONDS, registry=registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "ratchet_time_to_first_token_seconds", "Time until the client could read the first text.", _BY,
            buckets=_FIRST_TOKEN_SECONDS, registry=registry,
        )  # fmt: skip
        self.inter_token = Histogram(
            "ratchet_inter_token_latency_seconds", "Time between two tokens of one answer.", _BY,
            buckets=_TOKEN_SECONDS, registry=registry,
        )  # fmt: skip
        self.judged = Counter(
            "ratchet_completions_judged", "Completions that the refusal scorer judged: the base of the refusal rate.",
            _BY, registry=registry,
        )  # fmt: skip
        self.refusals = Counter("ratchet_refusals", "Judged completions that refuse.", _BY, registry=registry)
        self.toxicity = Histogram(
            "ratchet_toxicity", "Toxicity score of completions, 0 to 1.", _BY, buckets=_UNIT_INTERVAL, registry=registry
        )
        self.rail_verdicts = Counter(
            "ratchet_rail_verdicts", "Rail verdicts: allow, block or failed; adapter none means not routed yet.",
            (*_BY, "rail", "direction", "outcome"), registry=registry,
        )  # fmt: skip
        self.rail_seconds = Histogram(
            "ratchet_rail_duration_seconds", "Time one rail took for one verdict.", ("profile", "rail", "direction"),
            buckets=_RAIL_SECONDS, registry=registry,
        )  # fmt: skip
        self.shadow_rail_verdicts = Counter(
            "ratchet_rail_shadow_verdicts",
            "Verdicts of shadow rails, which stop nothing; block over all is the would-have-blocked rate.",
            (*_BY, "rail", "direction", "outcome"), registry=registry,
        )  # fmt: skip
        self.profile_loads = Counter(
            "ratchet_rail_profile_loads",
            "Attempts to load a profile anew: swapped, unchanged, rejected (the old one serves on) or removed.",
            ("profile", "outcome"), registry=registry,
        )  # fmt: skip
        self.rejected = Counter(
            "ratchet_measurements_rejected", "Measurements dropped: not a finite number in their metric's range.",
            ("measurement",), registry=registry,
        )  # fmt: skip

    @property
    def by_adapter(self) -> tuple[Counter | Histogram, ...]:
        """Return the families whose series go when their adapter loses its label."""
        return (
            self.requests, self.errors, self.tokens, self.duration, self.first_token, self.inter_token, self.judged,
            self.refusals, self.toxicity, self.rail_verdicts, self.shadow_rail_verdicts,
        )  # fmt: skip


class SwapFamilies:
    """What adapters and the champion report."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.swaps = Counter("ratchet_swaps", "Champion swaps decided here; kind is promote or rollback.", ("kind",),
                             registry=registry)  # fmt: skip
        self.promotions = Counter(
            "ratchet_promotions", "Promotions of a candidate to champion, decided by this server.", registry=registry
        )
        self.swap_seconds = Histogram(
            "ratchet_swap_seconds", "Time from the call to the new champion routing every new request.", ("kind",),
            buckets=_SWAP_SECONDS, registry=registry,
        )  # fmt: skip
        self.last_swap = Gauge(
            "ratchet_last_swap_timestamp_seconds", "Unix time of the last swap of this kind.", ("kind",),
            registry=registry,
        )  # fmt: skip
        self.champion = Gauge("ratchet_champion_info", "1 for the present champion.", ("adapter",), registry=registry)
        self.champion_since = Gauge(
            "ratchet_champion_since_timestamp_seconds", "Unix time at which the present champion became it.",
            ("adapter",), registry=registry,
        )  # fmt: skip
        self.proofs = Counter(
            "ratchet_proofs", "Efficacy proofs at load: pass, no_effect, mismatch or error.", ("outcome",),
            registry=registry,
        )  # fmt: skip
        self.proof_seconds = Histogram(
            "ratchet_proof_seconds", "Time of an efficacy proof.", buckets=_LOAD_SECONDS, registry=registry
        )
        self.loads = Counter("ratchet_adapter_loads", "Adapter loads into the engine.", ("outcome",), registry=registry)
        self.load_seconds = Histogram(
            "ratchet_adapter_load_seconds", "Time of an adapter load, proof excluded.", ("outcome",),
            buckets=_LOAD_SECONDS, registry=registry,
        )  # fmt: skip


class LearningFamilies:
    """What flags, runs and the gate report."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.flags = Counter("ratchet_flags", "Flags stored, by kind and source.", ("kind", "source"),
                             registry=registry)  # fmt: skip
        self.run_step_seconds = Histogram(
            "ratchet_run_step_seconds", "Time of finished run steps.", ("method", "step"), buckets=_STEP_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.run_progress = Gauge(
            "ratchet_run_progress_timestamp_seconds", "Unix time of the last sign of progress of a run.", ("method",),
            registry=registry,
        )  # fmt: skip
        self.run_end = Gauge(
            "ratchet_run_end_timestamp_seconds", "Unix time of the last end of a run; 0 before the first.", ("method",),
            registry=registry,
        )  # fmt: skip
        self.runs = Counter("ratchet_runs", "Ended runs, by method and state.", ("method", "state"), registry=registry)
        self.gates = Counter(
            "ratchet_gate_results", "Gate reports: pass, fail or inconclusive.", ("outcome",), registry=registry
        )


class EngineFamilies:
    """What the engine reports. Made at its first report: a process without an engine must not expose "not ready"."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.running = Gauge("ratchet_engine_requests_running", "Requests the engine is decoding.", registry=registry)
        self.waiting = Gauge("ratchet_engine_requests_waiting", "Requests queued in the engine.", registry=registry)
        self.ready = Gauge("ratchet_engine_ready", "1 if the engine answers its health check.", registry=registry)
