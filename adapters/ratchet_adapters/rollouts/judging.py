"""From the counts of a step to what they say: worse, within every margin, too late, or nothing yet.

Where whole tenants are dealt out, each tenant is one trial: requests of one tenant are alike, whatever answers them, so
that a few of them on one arm differ from the rest by themselves. What all requests say then proves nothing; it ends a
canary early all the same, without calling it worse.

It must not know where counts come from nor what follows from a judgement.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ratchet_adapters.registry import METRICS, PAIRED_METRICS, ArmCount, RolloutPlan, RolloutStep
from ratchet_adapters.registry.arms import tenants_of
from ratchet_adapters.rollouts import sequential

__all__ = ["CANDIDATE", "CONTROL", "PAIR", "Figure", "Judgement", "Says", "judge"]

CONTROL, CANDIDATE = "control", "candidate"
# In shadow: the pairs of answers of which exactly one is bad, and those in which it is the candidate's.
PAIR = "pair"
# What every request is counted under.
_EVERY = "blocked"
Found = Mapping[tuple[str, str], tuple[int, int]]


class Says(StrEnum):
    """What a step's counts say."""

    WORSE = "worse"
    WITHIN = "within"
    UNDECIDED = "undecided"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of a step.

    Attributes:
        metric: Its name.
        control, candidate: (trials, events).
        worse: Log evidence that the candidate is worse; an alarm at `alarm_at`.
        within: Log evidence that it is within its margin; None when it has none, shown at `shown_at`.
    """

    metric: str
    control: tuple[int, int]
    candidate: tuple[int, int]
    worse: float
    alarm_at: float
    within: float | None
    shown_at: float

    @property
    def alarm(self) -> bool:
        """Whether the candidate is worse."""
        return self.worse >= self.alarm_at

    @property
    def open(self) -> bool:
        """Whether the step must still wait for this metric."""
        return self.within is not None and self.within < self.shown_at

    def __str__(self) -> str:
        """One line for people."""
        (n, s), (m, t) = self.control, self.candidate
        evidence = f"evidence of worse {math.exp(min(self.worse, 700)):.3g} of {math.exp(self.alarm_at):.0f}"
        return f"{self.metric}: candidate {t}/{m}, control {s}/{n}, {evidence}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the counts of a step say, why, and each metric's figures."""

    says: Says
    reason: str
    figures: tuple[Figure, ...]


def judge(plan: RolloutPlan, index: int, counts: Iterable[ArmCount], hours: float) -> Judgement:
    """Judge a step.

    Alpha is split evenly over the plan's steps and a step's metrics (Bonferroni), so that all looks at all of them
    together roll a candidate that is no worse back with a chance of at most alpha. A step ends well only when every
    metric that has a margin is shown within it; each such claim alone is wrong with a chance of at most beta.

    Args:
        plan: The rollout's plan.
        index: The step.
        counts: Its counts, summed over servers.
        hours: Since the step began.
    """
    step = plan.steps[index]
    found = {(count.arm, count.metric): (count.trials, count.events) for count in counts}
    whole = plan.sticky_by == "tenant" and step.kind != "shadow"
    figures = _figures(plan, step, found, tenants=whole)
    if alarms := [figure for figure in figures if figure.alarm]:
        return Judgement(Says.WORSE, f"worse after {hours:.2g} h: {'; '.join(map(str, alarms))}", figures)
    arms = [tenants_of(arm) if whole else arm for arm in (CONTROL, CANDIDATE)]
    seen, unit = min(found.get((arm, _EVERY), (0, 0))[0] for arm in arms), "tenants" if whole else "requests"
    waits = [
        f"{figure.metric} is not shown within {plan.margins[figure.metric]:g}" for figure in figures if figure.open
    ]
    if seen < step.min_requests:
        waits.insert(0, f"{seen} of {step.min_requests} {unit} in the smaller arm")
    if against := [f for f in _figures(plan, step, found, tenants=False) if f.alarm] if whole else []:
        waits.insert(0, f"requests speak against it, tenants do not yet: {'; '.join(map(str, against))}")
        if step.kind == "canary":
            return Judgement(Says.INCONCLUSIVE, f"stopped after {hours:.2g} h: {'; '.join(waits)}", figures)
    if hours < step.min_hours:
        waits.insert(0, f"{hours:.2g} of {step.min_hours:g} h")
    if not waits:
        return Judgement(Says.WITHIN, f"within every margin after {hours:.2g} h and {seen} {unit}", figures)
    if hours >= step.max_hours:
        return Judgement(Says.INCONCLUSIVE, f"no answer after {hours:.2g} h: {'; '.join(waits)}", figures)
    return Judgement(Says.UNDECIDED, f"waiting: {'; '.join(waits)}", figures)


def _figures(plan: RolloutPlan, step: RolloutStep, found: Found, *, tenants: bool) -> tuple[Figure, ...]:
    names = PAIRED_METRICS if step.kind == "shadow" else METRICS
    levels = math.log(len(plan.steps) * len(names) / plan.alpha), math.log(1 / plan.beta)
    arms = (tenants_of(CONTROL), tenants_of(CANDIDATE)) if tenants else (CONTROL, CANDIDATE)
    return tuple(_figure(plan, step, name, found, arms, levels) for name in names)


def _figure(
    plan: RolloutPlan,
    step: RolloutStep,
    metric: str,
    found: Found,
    arms: tuple[str, str],
    levels: tuple[float, float],
) -> Figure:
    control, candidate = (found.get((arm, metric), (0, 0)) for arm in arms)
    margin, within = plan.margins.get(metric), None
    if step.kind == "shadow":
        differ, against = found.get((PAIR, metric), (0, 0))
        pairs = (candidate[0], against, differ - against)
        worse = float(sequential.paired_worse(*pairs))
        if margin is not None:
            within = float(sequential.paired_within(*pairs, margin))
    else:
        worse = float(sequential.worse(control, candidate))
        if margin is not None:
            within = float(sequential.within(control, candidate, margin))
    alarm_at, shown_at = levels
    return Figure(metric, control, candidate, worse, alarm_at, within, shown_at)
