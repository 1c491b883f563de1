"""Decides whether a candidate may replace the champion: validity first, then one rule per axis, then all together.

It must not run anything nor write anything. Whatever is missing, failed, not a number, not comparable, leaked or stale
is a FAIL.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from ratchet_adapters.evals.gates.axes import Finding, rules_for
from ratchet_adapters.evals.gates.pairing import Incomparable, Pair, pairs_on
from ratchet_adapters.evals.gates.policy import GatePolicy
from ratchet_adapters.evals.gates.repeats import level_of
from ratchet_adapters.evals.gates.report import Flip, GateReport, SuiteNote
from ratchet_adapters.evals.gates.validity import Origin, invalidities, undecided
from ratchet_adapters.evals.gates.verdict import judged_axes, overall
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.result import EvalResult

__all__ = ["decide"]


def decide(
    candidate: EvalResult,
    champion: EvalResult,
    policy: GatePolicy | None = None,
    *,
    origin: Origin | None = None,
    earlier: int = 0,
    now: datetime | None = None,
) -> GateReport:
    """Compare a candidate with the champion.

    Args:
        candidate: Evaluation of the adapter that wants to be champion.
        champion: Evaluation of the present champion on the same suites, by the same judges.
        policy: Thresholds; the defaults when None.
        origin: The candidate's training set and its leakage check, who is champion, the base models, and a scan for
            triggers; nothing is known of them when None.
        earlier: Decisions made before on this champion and these suites; each lowers the level of the next.
        now: Time of the report; the present when None.

    Returns:
        A report with one entry per axis, also for axes that were not measured; bias only where it is asked for.

    Raises:
        ValueError: `earlier` is negative.
    """
    policy, origin = policy or GatePolicy(), origin or Origin()
    created = (now or datetime.now(UTC)).isoformat(timespec="milliseconds")
    findings: dict[str, Finding | str] = {}
    flips: list[Flip] = []
    for axis, metric, rule in rules_for(policy, candidate, champion):
        try:
            pairs = pairs_on(candidate, champion, axis)
            findings[metric] = rule(pairs, policy)
        except Incomparable as error:
            findings[metric] = str(error)
            continue
        if axis is not Axis.TOXICITY and axis is not Axis.NLL and metric != "incoherent":
            told = [pair for pair in pairs if not policy.hides(pair.suite)]
            flips += _flips(metric, told, higher_is_better=axis not in (Axis.OVER_REFUSAL, Axis.BIAS))
    axes = judged_axes(findings, policy, earlier)
    problems = invalidities(candidate, champion, policy, origin)
    doubts = undecided(policy, origin)
    outcome, reason = overall(axes, problems, doubts)
    key = f"{candidate.adapter}|{champion.adapter}|{policy.digest}|{created}|{reason}|{[axis.reason for axis in axes]}"
    return GateReport(
        id=f"report-{hashlib.sha256(key.encode()).hexdigest()[:16]}",
        candidate_digest=candidate.adapter,
        champion_digest=champion.adapter,
        outcome=outcome,
        reason=reason,
        axes=axes,
        created_at=created,
        policy=policy.model_dump(mode="json"),
        policy_digest=policy.digest,
        suites=tuple(SuiteNote(s.suite, s.version, s.axis.value, s.judge, len(s.items)) for s in candidate.suites),
        flips=tuple(flips),
        problems=problems,
        doubts=doubts,
        triggers=origin.triggers,
        dataset=origin.dataset,
        earlier=earlier,
        level=level_of(policy.alpha, policy.repeats, earlier),
    )


def _flips(metric: str, pairs: Sequence[Pair], *, higher_is_better: bool) -> list[Flip]:
    return [
        Flip(
            axis=metric,
            suite=pair.suite,
            item=pair.candidate.id,
            category=pair.candidate.category,
            prompt=pair.candidate.prompt,
            champion_answer=pair.champion.answer,
            candidate_answer=pair.candidate.answer,
            champion_label=pair.champion.label,
            candidate_label=pair.candidate.label,
            better=((pair.candidate.value or 0.0) > (pair.champion.value or 0.0)) is higher_is_better,
        )
        for pair in pairs
        if pair.candidate.value != pair.champion.value
    ]
