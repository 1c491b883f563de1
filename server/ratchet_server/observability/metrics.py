"""The one object through which Ratchet reports what happened, as Prometheus metrics.

It must not know who calls it nor see any text: digests, names from configuration, numbers and outcomes only.
Thread-safe. A measurement that is no number in range is counted as rejected, never observed and never raised: a faulty
scorer must not fail a request here.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram

from ratchet_server.observability.families import EngineFamilies, LearningFamilies, ServingFamilies, SwapFamilies
from ratchet_server.observability.labels import OTHER, AdapterLabels, ProfileLabels, adapter_label
from ratchet_server.observability.rollout_metrics import RolloutMetrics
from ratchet_server.observability.triage_metrics import TriageMetrics

__all__ = ["Metrics", "ProofOutcome", "SwapKind"]

SwapKind = Literal["promote", "rollback"]
ProofOutcome = Literal["pass", "no_effect", "mismatch", "error"]

_SWAPS: tuple[SwapKind, ...] = ("promote", "rollback")
_PROOFS: tuple[ProofOutcome, ...] = ("pass", "no_effect", "mismatch", "error")
_GATES = ("pass", "fail", "inconclusive")
_VERDICTS = ("allow", "block", "failed")
_LOADS = ("swapped", "unchanged", "rejected", "removed")
UNROUTED = "none"


class Metrics:
    """Ratchet's metrics over one registry.

    An adapter is given as its digest, "" or "base" for none; a profile as its name. Outcomes, states, kinds and
    reasons may be given in any case and are lower case as labels; durations are seconds.

    Attributes:
        rollouts: What rollouts report.
        triage: What triage and the instant rail report.
    """

    def __init__(self, registry: CollectorRegistry, *, max_adapters: int = 16, max_profiles: int = 16) -> None:
        """Declare the metrics.

        Args:
            registry: Where they are registered; one `Metrics` for each registry.
            max_adapters: Adapters with series of their own, base not counted; older ones are "other".
            max_profiles: Profiles with series of their own; later ones are "other".
        """
        self.registry = registry
        self._serving = ServingFamilies(registry)
        self._swap = SwapFamilies(registry)
        self._learning = LearningFamilies(registry)
        self.rollouts = RolloutMetrics(registry)
        self.triage = TriageMetrics(registry)
        self._engine: EngineFamilies | None = None
        self._adapters = AdapterLabels(max_adapters)
        self._profiles = ProfileLabels(max_profiles)
        self._open: Tally[tuple[str, str]] = Tally()
        self._champion: str | None = None
        self._lock = threading.RLock()
        self._start_counters_at_zero()

    def request_started(self, adapter: str, profile: str) -> None:
        """Count a request as in flight. Call once it is routed, then exactly one of `request_finished` / `_failed`."""
        with self._lock:
            label, name = self._admit(adapter), self._profiles.admit(profile)
            self._open[(adapter_label(adapter), name)] += 1
            self._serving.in_flight.labels(label, name).inc()

    def request_finished(
        self,
        *,
        adapter: str,
        profile: str,
        finish_reason: str,
        prompt_tokens: int,
        completion_tokens: int,
        total_s: float,
        ttft_s: float | None,
        inter_token_s: Sequence[float] | float | None,
        toxicity: float | None,
        refused: bool | None,
    ) -> None:
        """Count a request that was answered, blocked answers included.

        Args:
            adapter: The adapter that answered, the same as at `request_started`.
            profile: The rail profile, the same as at `request_started`.
            finish_reason: stop, length, blocked_input, blocked_output, ...
            prompt_tokens: Tokens of the rendered prompt.
            completion_tokens: Tokens the engine made.
            total_s: Time from arrival to the last text.
            ttft_s: Time from arrival to the first text; None if there was none.
            inter_token_s: Each gap between tokens, or their mean; None if there was no second token.
            toxicity: Score of the completion, 0 to 1; None if it was not scored.
            refused: Whether the completion refuses; None if it was not judged, which leaves the refusal rate alone.
        """
        with self._lock:
            label, name = self._close(adapter, profile)
            serving = self._serving
            serving.requests.labels(label, name, finish_reason.lower()).inc()
            for kind, tokens in (("prompt", prompt_tokens), ("completion", completion_tokens)):
                if self._sound(f"{kind}_tokens", tokens):
                    serving.tokens.labels(label, name, kind).inc(tokens)
            self._observe(serving.duration.labels(label, name), "total_s", total_s)
            if ttft_s is not None:
                self._observe(serving.first_token.labels(label, name), "ttft_s", ttft_s)
            if inter_token_s is not None:
                gaps = inter_token_s if isinstance(inter_token_s, Sequence) else (inter_token_s,)
                between = serving.inter_token.labels(label, name)
                for gap in gaps:
                    self._observe(between, "inter_token_s", gap)
            if toxicity is not None:
                self._observe(serving.toxicity.labels(label, name), "toxicity", toxicity, most=1.0)
            if refused is not None:
                serving.judged.labels(label, name).inc()
                serving.refusals.labels(label, name).inc(int(refused))

    def request_failed(self, adapter: str, profile: str, code: str, *, started: bool = True) -> None:
        """Count a request that ended with an error.

        Args:
            adapter: The adapter it was routed to, or what the client named; unknown ones are "other".
            profile: The rail profile; unknown ones are "other".
            code: gRPC status code name, e.g. UNAVAILABLE.
            started: False if it was turned away before `request_started`.
        """
        with self._lock:
            if started:
                label, name = self._close(adapter, profile)
            else:
                label, name = self._adapters.known(adapter), self._profiles.known(profile)
            self._serving.requests.labels(label, name, "error").inc()
            self._serving.errors.labels(label, name, code).inc()

    def rail_verdict(
        self, *, profile: str, rail: str, direction: str, outcome: str, seconds: float, adapter: str | None = None
    ) -> None:
        """Count one rail's verdict.

        Args:
            profile: The rail profile it belongs to.
            rail: The rail's name.
            direction: input or output.
            outcome: ALLOW, BLOCK or FAILED.
            seconds: How long the rail took.
            adapter: The adapter that serves the request; None if it is not routed yet.
        """
        self._rail_verdict(self._serving.rail_verdicts, profile, rail, direction, outcome, seconds, adapter)

    def shadow_rail_verdict(
        self, *, profile: str, rail: str, direction: str, outcome: str, seconds: float, adapter: str | None = None
    ) -> None:
        """Count the verdict of a rail in shadow mode; as `rail_verdict`. BLOCK is what it would have blocked."""
        self._rail_verdict(self._serving.shadow_rail_verdicts, profile, rail, direction, outcome, seconds, adapter)

    def _rail_verdict(
        self,
        family: Counter,
        profile: str,
        rail: str,
        direction: str,
        outcome: str,
        seconds: float,
        adapter: str | None,
    ) -> None:
        with self._lock:
            label = UNROUTED if adapter is None else self._admit(adapter)
            key = (self._profiles.admit(profile), rail, direction.lower())
            for each in _VERDICTS:
                family.labels(label, *key, each)
            family.labels(label, *key, outcome.lower()).inc()
            self._observe(self._serving.rail_seconds.labels(*key), "rail_seconds", seconds)

    def profile_load(self, profile: str, outcome: str) -> None:
        """Count an attempt to load a profile anew: swapped, unchanged, rejected or removed."""
        with self._lock:
            name = self._profiles.admit(profile)
            for each in _LOADS:
                self._serving.profile_loads.labels(name, each)
            self._serving.profile_loads.labels(name, outcome.lower()).inc()

    def flag(self, kind: str, source: str) -> None:
        """Count one stored flag, e.g. ("HARMFUL", "SCORER")."""
        self._learning.flags.labels(kind.lower(), source.lower()).inc()

    def swap(self, kind: SwapKind, seconds: float, *, decided_here: bool = True) -> None:
        """Observe a swap of the champion: the time until new requests here went to the new one.

        It begins with the call, or, for a change that another server made, with the poll that saw it. Only the server
        that decided it counts it, so that counts add up over servers.
        """
        if decided_here:
            self._swap.swaps.labels(kind).inc()
        if decided_here and kind == "promote":
            self._swap.promotions.inc()
        self._swap.last_swap.labels(kind).set(time.time())
        self._observe(self._swap.swap_seconds.labels(kind), "swap_seconds", seconds)

    def proof(self, outcome: ProofOutcome, seconds: float) -> None:
        """Count an efficacy proof of a loaded adapter."""
        self._swap.proofs.labels(outcome).inc()
        self._observe(self._swap.proof_seconds, "proof_seconds", seconds)

    def adapter_load(self, outcome: str, seconds: float) -> None:
        """Count a load of an adapter into the engine; outcome is e.g. "ok" or an error's name."""
        self._swap.loads.labels(outcome.lower()).inc()
        self._observe(self._swap.load_seconds.labels(outcome.lower()), "load_seconds", seconds)

    def run_progress(self, method: str) -> None:
        """Note that a run began or moved on, so that a stalled one is noticed. Cheap: call as often as you like."""
        self._learning.run_end.labels(method)
        self._learning.run_progress.labels(method).set(time.time())

    def run_step(self, method: str, step: str, seconds: float) -> None:
        """Count a finished step of a run; it is progress too."""
        self._observe(self._learning.run_step_seconds.labels(method, step), "step_seconds", seconds)
        self.run_progress(method)

    def run_ended(self, method: str, state: str) -> None:
        """Count an ended run: SUCCEEDED, FAILED or CANCELLED."""
        self._learning.runs.labels(method, state.lower()).inc()
        self._learning.run_end.labels(method).set(time.time())

    def gate(self, outcome: str) -> None:
        """Count a gate report: PASS, FAIL or INCONCLUSIVE."""
        self._learning.gates.labels(outcome.lower()).inc()

    def champion(self, digest: str, *, since: float | None = None) -> None:
        """Say which adapter is champion. Saying it again changes nothing.

        Args:
            digest: Its digest, "" or "base" for none.
            since: Unix time at which it became champion; None means now. Give the routing's `changed_at` at start-up,
                else a restart looks like a promotion on the dashboard.
        """
        with self._lock:
            label, evicted = self._adapters.crown(digest)
            before, self._champion = self._champion, label
            if label != before:
                self._retire(evicted)
                self._publish_in_flight()
            elif since is None:
                return
            self._swap.champion.labels(label).set(1)
            self._swap.champion_since.labels(label).set(time.time() if since is None else since)
            if before not in (None, label):
                self._swap.champion.remove(before)
                self._swap.champion_since.remove(before)

    def engine(self, running: int, waiting: int, ready: bool) -> None:
        """Report the engine's queue and health. Call it at start-up with ready=False, and at every health check."""
        with self._lock:
            if self._engine is None:
                self._engine = EngineFamilies(self.registry)
        self._engine.running.set(running)
        self._engine.waiting.set(waiting)
        self._engine.ready.set(int(ready))

    def _start_counters_at_zero(self) -> None:
        """Expose the closed label sets at once: `increase()` does not see a counter that begins at 1."""
        for kind in _SWAPS:
            self._swap.swaps.labels(kind)
        for proof in _PROOFS:
            self._swap.proofs.labels(proof)
        for gate in _GATES:
            self._learning.gates.labels(gate)

    def _admit(self, adapter: str) -> str:
        label, evicted = self._adapters.admit(adapter)
        if evicted is not None:
            self._retire(evicted)
            self._publish_in_flight()
        return label

    def _close(self, adapter: str, profile: str) -> tuple[str, str]:
        """Take a request off the gauge and return its labels."""
        label, name = self._admit(adapter), self._profiles.admit(profile)
        key = (adapter_label(adapter), name)
        if self._open[key] > 0:
            self._open[key] -= 1
            self._serving.in_flight.labels(label, name).dec()
        if label == OTHER and not self._open[key]:
            del self._open[key]
        return label, name

    def _retire(self, label: str | None) -> None:
        if label is None or label == OTHER:
            return
        for family in self._serving.by_adapter:
            family.remove_by_labels({"adapter": label})

    def _publish_in_flight(self) -> None:
        """Rebuild the gauge after labels moved: open requests follow their adapter's label."""
        gauge = self._serving.in_flight
        gauge.clear()
        for (adapter, name), count in list(self._open.items()):
            label = self._adapters.known(adapter)
            if label == OTHER and not count:
                del self._open[(adapter, name)]
            else:
                gauge.labels(label, name).inc(count)

    def _sound(self, measurement: str, value: float, most: float = math.inf) -> bool:
        """Return whether a measurement is finite and in range, and count it as rejected if not."""
        if math.isfinite(value) and 0 <= value <= most:
            return True
        self._serving.rejected.labels(measurement).inc()
        return False

    def _observe(self, histogram: Histogram, measurement: str, value: float, most: float = math.inf) -> None:
        if self._sound(measurement, value, most):
            histogram.observe(value)
