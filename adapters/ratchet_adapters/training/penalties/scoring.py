"""Calling a penalty, with its scores checked: a wrong score would be learned from without anybody noticing.

It must not know any particular penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

from ratchet_adapters.training.penalties.errors import PenaltyInvalid
from ratchet_adapters.training.penalty import Penalty

__all__ = ["penalised"]


def penalised(name: str, penalty: Penalty, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
    """Return the penalty of each completion, in order, each in [0, 1].

    Raises:
        PenaltyInvalid: The penalty failed, or returned something else.
    """
    try:
        scores = list(penalty(prompts, completions))
    # A penalty is anybody's code.
    except Exception as error:
        raise PenaltyInvalid(name, f"failed with {type(error).__name__}: {error}") from error
    if len(scores) != len(completions):
        raise PenaltyInvalid(name, f"returned {len(scores)} scores for {len(completions)} answers")
    for score in scores:
        # False for NaN too.
        if not isinstance(score, Real) or not 0.0 <= score <= 1.0:
            raise PenaltyInvalid(name, f"returned {score!r} for an answer")
    return [float(score) for score in scores]
