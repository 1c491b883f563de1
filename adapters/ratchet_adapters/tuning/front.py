"""The Pareto front of the trials, and which of its points is taken.

It must not know what the trials were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from ratchet_adapters.tuning.errors import NoTrialFits
from ratchet_adapters.tuning.objectives import Constraint, Measured

__all__ = ["Point", "best_under", "front", "knee"]


class Point(Protocol):
    """A finished trial.

    Attributes:
        number: Of the trial.
        measured: What it came to.
    """

    @property
    def number(self) -> int: ...

    @property
    def measured(self) -> Measured | None: ...


_Trial = TypeVar("_Trial", bound=Point)


def front(trials: Sequence[_Trial]) -> tuple[_Trial, ...]:
    """Return the measured trials that no other one beats, by over-refusal, then by number.

    One trial beats another when it is no worse in all objectives and better in one; of equal ones the first counts.
    """
    found = [
        trial
        for trial in trials
        if trial.measured is not None and not any(_beats(other, trial) for other in trials if other is not trial)
    ]
    return tuple(sorted(found, key=lambda trial: (_costs(trial)[1], trial.number)))


def knee(trials: Sequence[_Trial]) -> _Trial:
    """Return the front's trial nearest to the ideal point.

    Each objective is scaled so that its best value on the front is 0 and its worst is 1; the trial with the least
    Euclidean distance to (0, 0, 0) is taken, the first of equals. An objective in which all are equal counts nothing.

    Raises:
        NoTrialFits: No trial was measured.
    """
    candidates = front(trials)
    if not candidates:
        raise NoTrialFits("no trial was finished")
    columns = list(zip(*map(_costs, candidates), strict=True))
    best, spans = [min(column) for column in columns], [max(column) - min(column) for column in columns]

    def distance(trial: _Trial) -> float:
        scaled = [
            (cost - low) / span if span else 0.0 for cost, low, span in zip(_costs(trial), best, spans, strict=True)
        ]
        return math.hypot(*scaled)

    return min(candidates, key=lambda trial: (round(distance(trial), 12), trial.number))


def best_under(trials: Sequence[_Trial], constraints: Sequence[Constraint]) -> _Trial:
    """Return the trial that refuses most harmful prompts among those that satisfy every constraint.

    Of equals, the one with less over-refusal, then with less change of language, then the first.

    Raises:
        NoTrialFits: There is none; the message names how near the trials came.
    """
    measured = [trial for trial in trials if trial.measured is not None]
    if not measured:
        raise NoTrialFits("no trial was finished")
    fitting = [trial for trial in measured if all(bound.holds(_of(trial)) for bound in constraints)]
    if not fitting:
        texts = ", ".join(bound.text for bound in constraints)
        reached = [
            f"best {name} was {value:.4g}"
            for name, value in (
                ("refusal", max(_of(trial).refusal for trial in measured)),
                ("over_refusal", min(_of(trial).over_refusal for trial in measured)),
                ("nll_change", min(_of(trial).nll_change for trial in measured)),
            )
            if any(bound.name == name for bound in constraints)
        ]
        raise NoTrialFits(f"none of {len(measured)} trials satisfies {texts} ({', '.join(reached)})")
    return min(fitting, key=lambda trial: (*_costs(trial), trial.number))


def _of(trial: Point) -> Measured:
    assert trial.measured is not None
    return trial.measured


def _costs(trial: Point) -> tuple[float, float, float]:
    return _of(trial).costs


def _beats(one: Point, other: Point) -> bool:
    if one.measured is None:
        return False
    pairs = list(zip(_costs(one), _costs(other), strict=True))
    if any(mine > theirs for mine, theirs in pairs):
        return False
    return any(mine < theirs for mine, theirs in pairs) or one.number < other.number
