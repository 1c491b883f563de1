"""From what each axis shows to PASS, FAIL or INCONCLUSIVE: corrected for the number of axes and of candidates.

It must not compute a statistic of its own.

Non-inferiority on an axis, with d the candidate's worsening and M its margin: FAIL when an absolute limit is broken.
PASS when the corrected p-value of d < M is at most the level, unless no candidate could have failed, or the items could
not have shown M by the policy's own assumptions (and d is not so far below M that this does not matter). Not passed, it
is INCONCLUSIVE when only a correction stood in the way, or when the set could not show M and d is not proven to exceed
M; otherwise FAIL.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ratchet_adapters.evals.gates.axes import Finding
from ratchet_adapters.evals.gates.policy import GatePolicy
from ratchet_adapters.evals.gates.repeats import level_of
from ratchet_adapters.evals.gates.report import AxisResult, GateOutcome

__all__ = ["judged_axes", "overall"]


def judged_axes(findings: Mapping[str, Finding | str], policy: GatePolicy, earlier: int) -> tuple[AxisResult, ...]:
    """Return the result of every axis, in order.

    Args:
        findings: By metric; a text says why an axis was not measured, which is a FAIL.
        policy: Levels and correction.
        earlier: Decisions made before on the same champion and items.
    """
    adjusted = _adjusted(findings, policy)
    return tuple(
        AxisResult(metric, GateOutcome.FAIL, None, None, None, None, None, 0.0, 0, finding)
        if isinstance(finding, str)
        else _judged(finding, adjusted[metric], level_of(finding.alpha, policy.repeats, earlier), policy)
        for metric, finding in findings.items()
    )


def overall(axes: Sequence[AxisResult], problems: Sequence[str], doubts: Sequence[str] = ()) -> tuple[GateOutcome, str]:
    """Return the outcome of a report and its reason: FAIL over INCONCLUSIVE over PASS.

    Args:
        axes: The result of every axis.
        problems: Each makes it a FAIL.
        doubts: Each keeps it from being a PASS.
    """
    outcomes = {axis.outcome for axis in axes} | ({GateOutcome.FAIL} if problems else set())
    outcomes |= {GateOutcome.INCONCLUSIVE} if doubts else set()
    for outcome in (GateOutcome.FAIL, GateOutcome.INCONCLUSIVE):
        if outcome in outcomes:
            held = [f"{axis.axis}: {axis.reason}" for axis in axes if axis.outcome is not GateOutcome.PASS]
            return outcome, "; ".join([*problems, *doubts, *held]) + "."
    return GateOutcome.PASS, "Every axis passed."


def _adjusted(findings: Mapping[str, Finding | str], policy: GatePolicy) -> dict[str, float]:
    raw = {metric: 1.0 if isinstance(finding, str) else finding.p_value for metric, finding in findings.items()}
    # The target's improvement is no member: it and all the others must hold, which needs no correction.
    family = [metric for metric, finding in findings.items() if isinstance(finding, str) or finding.duel is None]
    if policy.correction == "none" or not family:
        return raw
    tests: Any = importlib.import_module("statsmodels.stats.multitest")
    corrected = tests.multipletests([raw[metric] for metric in family], alpha=policy.alpha, method="holm")[1]
    return raw | {metric: float(p_value) for metric, p_value in zip(family, corrected, strict=True)}


def _judged(finding: Finding, adjusted: float, level: float, policy: GatePolicy) -> AxisResult:
    if finding.breach:
        verdict = GateOutcome.FAIL, finding.breach
    elif finding.duel is not None:
        verdict = _superior(finding, *finding.duel, level, policy.harmful_refusal.worthwhile)
    else:
        verdict = _non_inferior(finding, adjusted, level)
    shown = finding.worse.mirrored() if finding.higher_is_better else finding.worse
    result = AxisResult(
        axis=finding.metric,
        outcome=verdict[0],
        champion=finding.champion,
        candidate=finding.candidate,
        difference=shown.estimate,
        low=shown.low,
        high=shown.high,
        margin=finding.margin,
        items=finding.items,
        reason=verdict[1],
        bound=shown.lower if finding.higher_is_better else shown.upper,
        p_value=finding.p_value,
        adjusted_p=adjusted,
        level=level,
        detectable=finding.planned,
        higher_is_better=finding.higher_is_better,
    )
    if finding.items >= policy.min_items or result.outcome is GateOutcome.FAIL:
        return result
    why = f"{finding.items} items are too few; the policy asks for {policy.min_items}"
    return replace(result, outcome=GateOutcome.INCONCLUSIVE, reason=why)


def _superior(finding: Finding, wins: int, losses: int, level: float, worthwhile: float) -> tuple[GateOutcome, str]:
    shown = f"{wins} items better and {losses} worse, exact p = {finding.p_value:.2g}, level {level:.2g}"
    if finding.p_value <= level:
        return GateOutcome.PASS, shown
    if finding.p_value <= finding.alpha:
        return GateOutcome.INCONCLUSIVE, f"{shown}: not proven after so many candidates; use new items"
    if wins > losses and finding.planned > worthwhile:
        return GateOutcome.INCONCLUSIVE, f"{shown}; these items can only show {finding.planned:.2%}: use more items"
    return GateOutcome.FAIL, f"{shown}: no proven improvement"


def _non_inferior(finding: Finding, adjusted: float, level: float) -> tuple[GateOutcome, str]:
    worse, margin = finding.worse, finding.margin
    shown = (
        f"worse by {worse.estimate:.2%}, possibly {worse.upper:.2%}; the margin is {margin:.2%}, "
        f"p = {finding.p_value:.2g} ({adjusted:.2g} corrected), level {level:.2g}"
    )
    if adjusted <= level:
        if not finding.can_fail:
            why = f"no candidate could fail: the champion is at {finding.champion:.2%} and the margin is {margin:.2%}"
            return GateOutcome.INCONCLUSIVE, why
        # Much better is decided even so: a worsening of all that these items cannot show would still be allowed.
        if finding.planned > margin and worse.estimate + finding.planned > margin:
            return GateOutcome.INCONCLUSIVE, f"{shown}, and {_too_few(finding.planned)}"
        most = f"worse by at most {worse.upper:.2%}" if worse.upper > 0 else f"better by at least {-worse.upper:.2%}"
        return GateOutcome.PASS, f"{most}, within the margin of {margin:.2%}, p = {adjusted:.2g}, level {level:.2g}"
    if finding.p_value <= finding.alpha:
        return GateOutcome.INCONCLUSIVE, f"{shown}: not proven for all axes and candidates together; use more items"
    reach = max(finding.planned, worse.detectable)
    if worse.lower <= margin < reach:
        return GateOutcome.INCONCLUSIVE, f"{shown}, and {_too_few(reach)}"
    return GateOutcome.FAIL, shown


def _too_few(reach: float) -> str:
    return f"these items can only show {reach:.2%}: use more items"
