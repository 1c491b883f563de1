"""Pairs the items of two evaluation results, and refuses to pair what is not the same.

It must not compare values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.result import EvalResult, ItemResult, SuiteResult

__all__ = ["Incomparable", "Pair", "pairs_on"]


class Incomparable(Exception):
    """The two results cannot be compared on an axis; the text says why. Never leaves the gate: it becomes a FAIL."""


@dataclass(frozen=True)
class Pair:
    """One item as the candidate and as the champion answered it."""

    suite: str
    candidate: ItemResult
    champion: ItemResult

    @property
    def cluster(self) -> str:
        """Unit of dependence: clusters of different suites are different."""
        return f"{self.suite}/{self.candidate.cluster}"


def pairs_on(candidate: EvalResult, champion: EvalResult, axis: Axis) -> list[Pair]:
    """Return the pairs of every suite of an axis, in the candidate's order.

    Raises:
        Incomparable: A side lacks the axis, a suite failed or is empty, versions, judges, sampling or item sets
            differ, or a value is missing or not finite.
    """
    ours, theirs = _by_name(candidate, axis, "candidate"), _by_name(champion, axis, "champion")
    if ours.keys() != theirs.keys():
        raise Incomparable(f"the suites differ: {sorted(ours)} for the candidate, {sorted(theirs)} for the champion")
    return [pair for name in ours for pair in _pairs(ours[name], theirs[name])]


def _by_name(result: EvalResult, axis: Axis, who: str) -> dict[str, SuiteResult]:
    suites = result.on(axis)
    if not suites:
        raise Incomparable(f"the {who} was not measured on {axis.value}")
    for suite in suites:
        if suite.failure:
            raise Incomparable(f"the {who}'s suite {suite.suite!r} failed: {suite.failure}")
        if not suite.items:
            raise Incomparable(f"the {who}'s suite {suite.suite!r} is empty")
    named = {suite.suite: suite for suite in suites}
    if len(named) != len(suites):
        raise Incomparable(f"the {who} has a suite of {axis.value} twice")
    return named


def _pairs(ours: SuiteResult, theirs: SuiteResult) -> list[Pair]:
    for what, mine, yours in (
        ("version", ours.version, theirs.version),
        ("judge", ours.judge, theirs.judge),
        ("sampling", ours.sampling, theirs.sampling),
    ):
        if mine != yours:
            raise Incomparable(f"suite {ours.suite!r}: the {what} differs, {mine} against {yours}")
    other = {item.id: item for item in theirs.items}
    mine_ids = [item.id for item in ours.items]
    if len(set(mine_ids)) != len(mine_ids) or len(other) != len(theirs.items) or set(mine_ids) != set(other):
        raise Incomparable(f"suite {ours.suite!r}: the two results do not hold the same items, each once")
    for item in (*ours.items, *theirs.items):
        numbers = (item.value, item.weight)
        if item.error or any(number is None or not math.isfinite(number) for number in numbers):
            why = item.error or f"its value is {item.value}"
            raise Incomparable(f"suite {ours.suite!r}: item {item.id!r} has no value ({why})")
    return [Pair(ours.suite, item, other[item.id]) for item in ours.items]
