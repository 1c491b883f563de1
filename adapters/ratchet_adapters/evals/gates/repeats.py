"""The price of trying again: the level of a decision, given how many candidates the same items have judged before.

It must not know where reports are kept.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from ratchet_adapters.evals.gates.policy import RepeatRule
from ratchet_adapters.evals.result import EvalResult

__all__ = ["earlier_decisions", "level_of"]


def level_of(alpha: float, rule: RepeatRule, earlier: int) -> float:
    """Return the level of the next decision against a champion: min(alpha, budget * w_k), k = earlier.

    w_k = (k + 1)^-exponent / zeta(exponent) sums to one over all k, so however many candidates are tried, and whenever
    one stops, the chance that any of them passes wrongly is at most `budget` (alpha spending by the union bound; it
    needs no independence, which candidates judged by the same items do not have). A champion that is replaced starts
    afresh.

    Args:
        alpha: Level of one decision by itself.
        rule: Budget and exponent.
        earlier: Decisions made before on this champion and these items, 0 or more.
    """
    if earlier < 0:
        raise ValueError(f"There cannot be {earlier} earlier decisions.")
    special: Any = importlib.import_module("scipy.special")
    weight = float((earlier + 1) ** -rule.exponent / special.zeta(rule.exponent))
    return min(alpha, rule.budget * weight)


def earlier_decisions(bodies: Iterable[Mapping[str, Any]], candidate: EvalResult) -> int:
    """Count the reports that used items the candidate is judged by now.

    Args:
        bodies: `GateReport.to_dict()` of every earlier report on the same champion.
        candidate: The candidate's evaluation.

    Returns:
        Reports that share a suite in the same version and measured at least one axis; the same candidate measured
        again counts too, because it is a second chance.
    """
    asked = {(suite.suite, suite.version) for suite in candidate.suites}
    return sum(
        any((suite.get("suite"), suite.get("version")) in asked for suite in body.get("suites", ()))
        and any(axis.get("items") for axis in body.get("axes", ()))
        for body in bodies
    )
