"""Rewards by rule: how close an answer comes to the ideal of its kind, and whether it is safe.

Each kind of prompt has an ideal: to refuse briefly and without judgement, to refuse with care and point to help
(self-harm), to answer. The score is linear in the propositions (rule-based rewards, arXiv 2411.01111, equation 1), with
weights fitted on ranked texts by `rewards.fitting`. It must not know how a reward is turned into a gradient.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from importlib import resources
from types import MappingProxyType

from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal
from ratchet_adapters.training.rewards.propositions import PROPOSITIONS, propositions
from ratchet_adapters.training.rewards.reward import BaseModelFolder, Turn

__all__ = ["WEIGHTS", "HelpfulRules", "Ideal", "LinearRule", "SafeRules", "default_rules", "refuses"]

WEIGHTS = "weights.json"
_SAFE_REFUSAL = frozenset({"self_harm"})


class Ideal(StrEnum):
    """What is wanted of an answer."""

    HARD_REFUSAL = "hard-refusal"
    SAFE_REFUSAL = "safe-refusal"
    ANSWER = "answer"

    @classmethod
    def of(cls, turn: Turn) -> Ideal:
        """Return the ideal for a prompt: by whether it asks for harm, and by the category of that harm."""
        if not turn.harmful:
            return cls.ANSWER
        return cls.SAFE_REFUSAL if turn.category in _SAFE_REFUSAL else cls.HARD_REFUSAL


class LinearRule:
    """sigmoid(offset + weights · propositions) of one ideal, in [0, 1]."""

    def __init__(self, weights: Mapping[str, float], offset: float) -> None:
        if set(weights) != set(PROPOSITIONS):
            raise ValueError(f"weights must name each of these propositions and no other: {', '.join(PROPOSITIONS)}")
        self.weights = MappingProxyType(dict(weights))
        self.offset = offset

    def __call__(self, found: Mapping[str, float]) -> float:
        """Return the score of an answer's propositions."""
        logit = self.offset + sum(self.weights[name] * found[name] for name in PROPOSITIONS)
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))


@cache
def default_rules() -> Mapping[Ideal, LinearRule]:
    """Return the shipped rules, read once per process."""
    content = resources.files("ratchet_adapters.training.rewards").joinpath(WEIGHTS).read_text(encoding="utf-8")
    value = json.loads(content)["rules"]
    return MappingProxyType({ideal: LinearRule(**value[ideal.value]) for ideal in Ideal})


def refuses(turn: Turn) -> bool:
    """Return whether an answer counts as a refusal: doubt counts against the policy on both kinds of prompts.

    On a harmful prompt only a sure refusal counts; on a benign one everything that opens like one does.
    """
    if not turn.harmful:
        return opens_like_a_refusal(turn.answer)
    found = propositions(turn.answer)
    return bool(found["refuses"]) and not found["discloses"]


class HelpfulRules:
    """How close an answer comes to the ideal for its prompt, as long as it is language.

    Args:
        base: Not used: rules need no model.
        likelihood_floor: Mean log-probability under the base model, in nats per token, below which an answer begins to
            lose; it is worth nothing two nats below. None: not looked at.
    """

    def __init__(self, base: BaseModelFolder, *, likelihood_floor: float | None = -5.0) -> None:
        if likelihood_floor is not None and not likelihood_floor < 0:
            raise ValueError("likelihood_floor must be below 0: it is a log-probability")
        self._floor = likelihood_floor

    def __call__(self, turns: Sequence[Turn]) -> list[float]:
        """Return one number in [0, 1] per turn; a benign prompt refused is worth 0."""
        return [self._of(turn) for turn in turns]

    def _of(self, turn: Turn) -> float:
        ideal = Ideal.of(turn)
        if ideal is Ideal.ANSWER and refuses(turn):
            return 0.0
        value = default_rules()[ideal](propositions(turn.answer))
        if self._floor is None or math.isnan(turn.likelihood):
            return value
        return value * max(0.0, min(1.0, 1.0 + (turn.likelihood - self._floor) / 2.0))


class SafeRules:
    """Whether an answer is safe: a harmful prompt must be refused, and no answer may be toxic.

    Toxicity and harm are different things, and a toxicity scorer does not see harmful help; hence both.

    Args:
        base: Not used.
        toxicity: Whether to multiply by 1 - toxicity of the shipped scorer; costs a small encoder.
    """

    def __init__(self, base: BaseModelFolder, *, toxicity: bool = True) -> None:
        from ratchet_plugins.scorers.registry import load_scorer

        self._scorer = load_scorer("toxicity") if toxicity else None

    def __call__(self, turns: Sequence[Turn]) -> list[float]:
        """Return one number in [0, 1] per turn."""
        values = [0.0 if turn.harmful and not refuses(turn) else 1.0 for turn in turns]
        if self._scorer is None:
            return values
        rows = self._scorer.score([turn.answer for turn in turns])
        return [value * (1.0 - row[self._scorer.primary]) for value, row in zip(values, rows, strict=True)]
