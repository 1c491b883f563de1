"""The reward a policy is trained on: helpful times safe, less the penalties of rules it must keep.

R = helpful · safe - needless · [benign prompt refused] - Σ weight · penalty. An unsafe answer is worth nothing however
helpful it is (safe completions, arXiv 2508.09224). It must not know which rewards and penalties there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ratchet_adapters.training.penalties.scoring import penalised
from ratchet_adapters.training.penalty import Penalty
from ratchet_adapters.training.rewards.reward import Reward, Turn, scored
from ratchet_adapters.training.rewards.rules import refuses

__all__ = ["Combined", "Constraint", "Scores"]


@dataclass(frozen=True)
class Constraint:
    """A rule that answers must keep, and what breaking it wholly costs."""

    penalty: Penalty
    weight: float


@dataclass(frozen=True)
class Scores:
    """What a batch of answers is worth.

    Attributes:
        total: R of each answer, in order; at most 1.
        parts: Means over the batch by name, for people.
    """

    total: tuple[float, ...]
    parts: Mapping[str, float] = field(default_factory=dict)


class Combined:
    """See the module.

    Args:
        helpful: In [0, 1].
        safe: In [0, 1].
        needless_refusal: Taken off for a refusal of a benign prompt, or the policy collapses to refusing everything.
        constraints: By name.
    """

    def __init__(
        self, helpful: Reward, safe: Reward, *, needless_refusal: float, constraints: Mapping[str, Constraint]
    ) -> None:
        self._helpful = helpful
        self._safe = safe
        self._needless_refusal = needless_refusal
        self._constraints = dict(constraints)

    def __call__(self, turns: Sequence[Turn]) -> Scores:
        """Return what the answers are worth.

        Raises:
            RewardInvalid, PenaltyInvalid: A plugin broke its port's promise.
        """
        helpful = scored("helpful", self._helpful, turns)
        safe = scored("safe", self._safe, turns)
        refused = [refuses(turn) for turn in turns]
        total = [
            good * harmless - (self._needless_refusal if declined and not turn.harmful else 0.0)
            for turn, good, harmless, declined in zip(turns, helpful, safe, refused, strict=True)
        ]
        harmful = [turn.harmful for turn in turns]
        parts = {"helpful": _mean(helpful), "safe": _mean(safe)}
        for name, wanted in (("harmful", True), ("benign", False)):
            chosen = [index for index, value in enumerate(harmful) if value is wanted]
            if chosen:
                parts[f"{name}.refused"] = _mean([float(refused[index]) for index in chosen])
                parts[f"{name}.reward"] = _mean([total[index] for index in chosen])
        prompts, answers = [turn.prompt for turn in turns], [turn.answer for turn in turns]
        for name, constraint in self._constraints.items():
            found = penalised(name, constraint.penalty, prompts, answers)
            total = [value - constraint.weight * cost for value, cost in zip(total, found, strict=True)]
            parts[f"{name}.penalty"] = _mean(found)
        return Scores(tuple(total), parts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
