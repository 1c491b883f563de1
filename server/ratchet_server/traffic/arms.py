"""Counts what went wrong in either arm of a rollout, off the request path, and keeps the counts in the registry.

What a process has counted and not yet written (about a second of traffic) is lost when it is killed; the database is
written absolute numbers, so a write that is repeated counts nothing twice. Must not judge the counts.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from ratchet_adapters.registry import ArmCount, LiveThresholds, Registry, RolloutPlan
from ratchet_adapters.rollouts.judging import CANDIDATE, CONTROL, PAIR
from ratchet_server.routing.router import Arm

__all__ = ["ArmCounter", "Observation", "events_of"]

log = logging.getLogger(__name__)

# Requests held while the database does not answer; beyond it the oldest are not counted.
_WAITING = 50_000


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one answer: how it ended, its scores in [0, 1] and how long it took, in milliseconds."""

    finish_reason: str
    scores: Mapping[str, float]
    total_ms: float


@dataclass(frozen=True, slots=True)
class _Pair:
    control: Observation
    candidate: Observation


@dataclass(frozen=True, slots=True)
class _Failure:
    """A request that ended with an error."""


def events_of(seen: Observation, thresholds: LiveThresholds) -> dict[str, bool]:
    """Return, for each metric that this answer is a trial of, whether it went wrong.

    A prompt that an input rail stopped says nothing about either adapter, and a missing score nothing about its metric.
    """
    if seen.finish_reason == "blocked_input":
        return {}
    blocked = seen.finish_reason == "blocked_output"
    events = {"blocked": blocked, "slow": seen.total_ms > thresholds.slow_ms}
    harm, refusal, toxicity = (seen.scores.get(name) for name in ("input_harm", "refusal", "toxicity"))
    if refusal is not None and harm is not None and harm <= thresholds.input_benign:
        events["refusal"] = refusal >= thresholds.refusal
    if harm is not None and harm >= thresholds.input_harm and (blocked or refusal is not None):
        # What a rail held back was not handed out.
        events["compliance"] = not blocked and refusal is not None and refusal < thresholds.refusal
    if toxicity is not None:
        events["toxicity"] = toxicity >= thresholds.toxicity
    return events


class ArmCounter:
    """One per server process. Only `write` blocks."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._counted_by = uuid.uuid4().hex
        self._waiting: deque[tuple[Arm, Observation | _Pair | _Failure]] = deque(maxlen=_WAITING)
        self._totals: dict[tuple[str, int, str, str], list[int]] = {}
        self._changed: set[tuple[str, int, str, str]] = set()
        # What tenants showed first and is not written yet; and of which tenants that is known here.
        self._firsts: list[tuple[str, ArmCount]] = []
        self._known: set[tuple[str, int, str, str, str]] = set()
        self._thresholds: tuple[str, LiveThresholds] = ("", LiveThresholds())

    def observe(self, arm: Arm, seen: Observation) -> None:
        """Count one answer on its arm."""
        self._waiting.append((arm, seen))

    def observe_failure(self, arm: Arm) -> None:
        """Count one request that its arm failed."""
        self._waiting.append((arm, _Failure()))

    def observe_pair(self, arm: Arm, control: Observation, candidate: Observation) -> None:
        """Count two answers to one request."""
        self._waiting.append((arm, _Pair(control, candidate)))

    def write(self) -> None:
        """Store everything counted so far.

        Raises:
            RegistryUnavailable: Nothing is lost; it is stored by the next call.
        """
        while self._waiting:
            arm, seen = self._waiting[0]
            self._add(arm, seen, self._thresholds_of(arm.rollout_id))
            self._waiting.popleft()
        if self._firsts:
            self._registry.count_tenants(self._firsts)
            self._firsts = []
        changed = sorted(self._changed)
        if not changed:
            return
        self._registry.count_arms(self._counted_by, [ArmCount(*key, *self._totals[key]) for key in changed])
        self._changed.difference_update(changed)
        newest = changed[-1][0]
        if len({key[0] for key in self._totals}) > 1:
            # What is written stays in the database; rollouts that are over are not counted on.
            self._totals = {key: n for key, n in self._totals.items() if key[0] == newest or key in self._changed}
            self._known = {key for key in self._known if key[0] == newest}

    def _thresholds_of(self, rollout_id: str) -> LiveThresholds:
        if self._thresholds[0] != rollout_id:
            rollout = self._registry.rollout(rollout_id)
            assert rollout is not None
            self._thresholds = (rollout_id, RolloutPlan.model_validate(rollout.plan).thresholds)
        return self._thresholds[1]

    def _add(self, arm: Arm, seen: Observation | _Pair | _Failure, thresholds: LiveThresholds) -> None:
        if isinstance(seen, _Failure):
            self._count(arm, arm.name, "failed", 1, True)
            return
        if isinstance(seen, Observation):
            found = events_of(seen, thresholds)
            if found:
                found["failed"] = False
            for metric, wrong in found.items():
                self._count(arm, arm.name, metric, 1, wrong)
            return
        control, candidate = events_of(seen.control, thresholds), events_of(seen.candidate, thresholds)
        for metric in control.keys() & candidate.keys():
            self._count(arm, CONTROL, metric, 1, control[metric])
            self._count(arm, CANDIDATE, metric, 1, candidate[metric])
            differ = control[metric] != candidate[metric]
            self._count(arm, PAIR, metric, differ, differ and candidate[metric])

    def _count(self, arm: Arm, name: str, metric: str, trials: int, events: int) -> None:
        key = (arm.rollout_id, arm.step, name, metric)
        total = self._totals.setdefault(key, [0, 0])
        total[0] += trials
        total[1] += events
        self._changed.add(key)
        if arm.tenant and (*key, arm.tenant) not in self._known:
            self._known.add((*key, arm.tenant))
            self._firsts.append((arm.tenant, ArmCount(*key, trials, int(events))))
