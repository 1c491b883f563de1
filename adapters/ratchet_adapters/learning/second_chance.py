"""A candidate that refuses too much may pass at less strength: which strengths to try, and the runs that try them.

Must not start a run, nor decide whether one passes: every weaker adapter goes through the gate like any other, as one
more candidate against the same champion, which the gate judges at a stricter level (`repeats` in its policy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ratchet_adapters.evals.gates.report import AxisResult, GateOutcome
from ratchet_adapters.training.arithmetic import SCALE

__all__ = ["SecondChance", "second_chance_options", "second_chances", "strength"]

_TARGET = "harmful_refusal"
_PRICE = "over_refusal"
_SHRINKS = frozenset({_PRICE, "incoherent", "nll", "cloze_accuracy", "toxicity_mean"})
"""Axes on which less of an adapter is nearer to the base model."""


class SecondChance(BaseModel):
    """At which strengths a candidate may be tried again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    automatic: bool = Field(
        False,
        description="Queue the run at less strength by itself. False: the run's detail says which command would.",
    )
    gammas: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (0.75, 0.5, 0.25), min_length=1, max_length=5, description="Strengths to try, strongest first."
    )

    @field_validator("gammas")
    @classmethod
    def _falling(cls, gammas: tuple[float, ...]) -> tuple[float, ...]:
        if list(gammas) != sorted(set(gammas), reverse=True):
            raise ValueError("gammas must fall: the strongest that passes is wanted")
        return gammas


def second_chances(
    axes: Sequence[AxisResult], settings: SecondChance, tried: Sequence[float] = ()
) -> tuple[float, ...]:
    """Return the strengths that are worth trying after a gate's report, strongest first; () when none is.

    Args:
        axes: Of the report on the candidate at full strength, or at the last strength tried.
        settings: Which strengths there are.
        tried: Strengths that have been through the gate already.

    Returns:
        Strengths below all tried ones, when the candidate refuses too much, what it is for is proven, and every other
        axis that does not pass was measured and is one that less of the adapter can mend.
    """
    found = {axis.axis: axis for axis in axes}
    held = [axis for axis in axes if axis.outcome is not GateOutcome.PASS]
    if _TARGET not in found or _PRICE not in {axis.axis for axis in held}:
        return ()
    if any(axis.axis not in _SHRINKS or axis.candidate is None for axis in held):
        return ()
    lowest = min((1.0, *tried))
    return tuple(gamma for gamma in settings.gammas if gamma < lowest)


def strength(adapter: str, method: str, options: Mapping[str, Any] | None) -> tuple[str, tuple[float, ...]]:
    """Return the adapter at full strength that a run's adapter was made from, and the strengths that were tried.

    Args:
        adapter: Digest of the run's adapter.
        method: Of the run.
        options: Of the run.
    """
    if method == SCALE.name and options:
        ((source, gamma),) = options["training"]["adapters"].items()
        return str(source), (float(gamma),)
    return adapter, ()


def second_chance_options(digest: str, gamma: float) -> tuple[str, Mapping[str, Any]]:
    """Return method and options of the run that makes an adapter at strength gamma and takes it through the gate."""
    return SCALE.name, {"training": {"adapters": {digest: gamma}}}
