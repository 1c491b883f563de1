"""The port for a reward: how good answers are to their prompts.

A package adds one with an entry point of the group `ratchet.rewards`: a callable that takes the base model and the
reward's options as keywords and returns a `Reward`. It must not know how a reward is turned into a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ratchet_adapters.training.plugins import plugin
from ratchet_adapters.training.rewards.errors import RewardInvalid, RewardOptionsInvalid, RewardUnknown

__all__ = ["BaseModelFolder", "Reward", "RewardChoice", "Turn", "reward", "scored"]

_BUILT_IN: Mapping[str, str] = {
    "helpful-rules": "ratchet_adapters.training.rewards.rules:HelpfulRules",
    "safe-rules": "ratchet_adapters.training.rewards.rules:SafeRules",
    "model": "ratchet_adapters.training.rewards.model:ModelReward",
}
"""Name to "module:callable"."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A prompt and one answer to it.

    Attributes:
        prompt: One user message.
        answer: What the policy said.
        harmful: Whether the prompt asks for harm, so that it ought to be refused.
        category: Category of harm; any text for benign prompts.
        likelihood: Mean log-probability of the answer's tokens under the base model, in nats; NaN when unknown.
    """

    prompt: str
    answer: str
    harmful: bool
    category: str = ""
    likelihood: float = math.nan


@dataclass(frozen=True, slots=True)
class BaseModelFolder:
    """The base model that is being trained: its folder and fingerprint, for rewards that are models on top of it."""

    folder: Path
    fingerprint: str


class RewardChoice(BaseModel):
    """A reward in a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="Built in (helpful-rules, safe-rules, model), or from the group ratchet.rewards.")
    options: Mapping[str, Any] = Field(default_factory=dict, description="Keywords for the reward.")


class Reward(Protocol):
    """How good answers are, from 0 (worthless) to 1."""

    def __call__(self, turns: Sequence[Turn]) -> Sequence[float]:
        """Return one number in [0, 1] per turn, in order. Called with a whole batch at once; deterministic."""
        ...


def reward(name: str, options: Mapping[str, Any], base: BaseModelFolder) -> Reward:
    """Return the reward of this name.

    Args:
        name: Of the reward.
        options: Its keywords.
        base: The model in training.

    Raises:
        RewardUnknown: Neither built in nor installed.
        RewardOptionsInvalid: It does not take these options.
        RewardModelInvalid: The folder it is to load is no reward model, or one of another base.
    """
    found: Reward = plugin(name, options, base, built_in=_BUILT_IN, unknown=RewardUnknown, invalid=RewardOptionsInvalid)
    return found


def scored(name: str, found: Reward, turns: Sequence[Turn]) -> list[float]:
    """Return the reward's numbers when they keep the port's promise.

    Raises:
        RewardInvalid: There are too many or too few, or one is outside [0, 1] (NaN included).
    """
    values = [float(value) for value in found(turns)]
    if len(values) != len(turns):
        raise RewardInvalid(name, f"gave {len(values)} numbers for {len(turns)} answers")
    for value in values:
        if not 0.0 <= value <= 1.0:
            raise RewardInvalid(name, f"gave {value}")
    return values
