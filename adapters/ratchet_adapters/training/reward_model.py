"""`reward-model`: a model that gives an answer one number, trained on pairs of which one is preferred.

Its output is no adapter: it has a head and is never served. It must not import a trainer.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ratchet_adapters.training.method import Method
from ratchet_adapters.training.recipe import Recipe

__all__ = ["METHOD", "REWARD_MODEL", "RewardModelSettings"]

REWARD_MODEL = "reward-model"
"""The kind that `ratchet.json` names in the folder of a reward model."""


class RewardModelSettings(Recipe):
    """The recipe of `reward-model`: LoRA and a linear head, Bradley-Terry loss on pairs."""

    head: Literal["helpful", "safe", "overall"] = Field(
        "overall",
        description="What it prefers. safe: a refusal over the flagged answer, on harmful prompts; helpful: an answer "
        "over a needless refusal, on benign ones; overall: both, so that it has to read the prompt.",
    )
    answer_tokens: int = Field(48, ge=4, description="Answers are cut after so many tokens; it reads the last one.")
    centre: float = Field(
        0.01, ge=0, description="Weight of the squared sum of a pair's scores, which keeps them around 0."
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak; warm-up, then cosine to zero.")
    epochs: float = Field(2.0, gt=0, le=20, description="Passes over the pairs.")
    batch_size: int = Field(8, ge=1, description="Pairs per optimiser step.")

    @model_validator(mode="after")
    def _does_not_answer(self) -> RewardModelSettings:
        if self.over_refusal_ceiling is not None:
            raise ValueError("a reward model answers nothing, so it has no over_refusal_ceiling; leave it out")
        return self


METHOD = Method(
    name=REWARD_MODEL,
    summary="A reward model for the policy methods: LoRA and a head that scores an answer. Never served.",
    settings=RewardModelSettings,
    trainer="ratchet_adapters.training.trainers.reward_model:train",
    dataset={"rejected": "asked"},
    servable=False,
)
