"""What the policy-gradient methods have in common: how many answers are sampled, and what they are worth.

It must not know any estimator of the gradient, nor import a trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ratchet_adapters.training.recipe import AdapterRecipe
from ratchet_adapters.training.rewards.reward import RewardChoice

__all__ = ["PolicySettings", "Rule"]


class Rule(BaseModel):
    """A rule that answers must keep, as a penalty in a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(1.0, gt=0, description="Taken off the reward of an answer that breaks it wholly.")
    options: Mapping[str, Any] = Field(default_factory=dict, description="Keywords for the penalty.")


class PolicySettings(AdapterRecipe):
    """Sampling and reward of a policy-gradient method."""

    epochs: float = Field(1.0, gt=0, le=20, description="Passes over the harmful prompts.")
    most_steps: int = Field(60, ge=1, description="Optimiser steps at most, however many prompts there are.")
    batch_size: int = Field(16, ge=2, description="Answers per optimiser step: prompts times group_size.")
    group_size: int = Field(4, ge=2, le=64, description="Answers sampled to one prompt and compared with each other.")
    benign_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the prompts that are benign (contrast and replay rows). Without them a policy learns to "
        "refuse everything.",
    )
    guide_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of the harmful prompts for which one answer of the group is the row's own refusal instead "
        "of a sampled one. A policy that never refuses by itself has nothing to be compared with, and learns nothing "
        "(mixed-policy GRPO, arXiv 2504.14945); 0 for a policy that does.",
    )
    answer_tokens: int = Field(20, ge=4, description="Tokens of a sampled answer at most.")
    temperature: float = Field(1.0, gt=0, le=2, description="Of the sampling.")
    learning_rate: float = Field(5e-4, gt=0, description="Peak; warm-up, then cosine to zero.")
    beta: float = Field(
        0.04,
        ge=0,
        description="Weight of KL(policy || reference), per token or answer as the method has it. The reference is the "
        "adapter that `start` names, or else the base model.",
    )
    helpful: RewardChoice = Field(RewardChoice(name="helpful-rules"), description="The first factor of the reward.")
    safe: RewardChoice = Field(RewardChoice(name="safe-rules"), description="The second factor of the reward.")
    needless_refusal: float = Field(
        0.25,
        ge=0,
        description="Taken off the reward of an answer that refuses a benign prompt. At 1 a needless refusal costs "
        "four times what a right one is worth, and the policy learns to answer everything.",
    )
    rules: Mapping[str, Rule] = Field(
        default_factory=dict,
        description="Rules to keep, by penalty: built in (pattern, toxicity, refusal), or from the group "
        "ratchet.penalties.",
    )

    @model_validator(mode="after")
    def _groups_are_whole(self) -> PolicySettings:
        if self.batch_size % self.group_size:
            raise ValueError("batch_size must be a multiple of group_size: all answers to a prompt belong to one step")
        return self
