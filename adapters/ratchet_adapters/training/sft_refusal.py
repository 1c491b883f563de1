"""`sft-refusal`: supervised fine-tuning on explanatory refusals, benign contrast and replay.

It must not import a trainer: names and settings are asked for often, training is done rarely.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from ratchet_adapters.training.loss_term import TermChoice
from ratchet_adapters.training.method import Method
from ratchet_adapters.training.recipe import AdapterRecipe

__all__ = ["METHOD", "SftSettings"]


class SftSettings(AdapterRecipe):
    """The recipe of `sft-refusal`, and of every method that adds terms to its loss."""

    epochs: float = Field(2.0, gt=0, le=20, description="Passes over the train rows.")
    rows_per_sequence: int = Field(
        4, ge=1, description="Rows packed behind one copy of the chat template's system message."
    )
    refusal_tokens: int = Field(
        14,
        ge=4,
        description="Refusals are cut after so many tokens, without an end mark: the first tokens decide (arXiv "
        "2406.05946), and every further one costs time and general language.",
    )
    whole_share: float = Field(0.2, ge=0, le=1, description="Share of the refusals taught to their end.")
    whole_tokens: int = Field(96, ge=8, description="Cut of the refusals that are taught to their end.")
    answer_tokens: int = Field(
        12,
        ge=4,
        description="Answers are cut after so many tokens, without an end mark. Must be below the number of tokens "
        "that the dataset builder asks the base model for: a shorter answer is taken to be whole.",
    )
    recovery_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the refusals taught again behind the first tokens of the flagged answer, which stay out "
        "of the loss: the model learns to turn back (arXiv 2406.05946). Needs rows that hold that answer.",
    )
    recovery_tokens: int = Field(
        24, ge=1, description="Most tokens of the flagged answer in front of such a refusal; drawn uniformly from 1."
    )
    head_tokens: int = Field(4, ge=1, description="First tokens of a completion, with full weight in the loss.")
    tail_weight: float = Field(0.3, ge=0, le=1, description="Weight of the tokens after them.")
    anchor_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of KL(base || adapter) on one plain text per step, which keeps general language where it "
        "was; 0 saves a quarter of the time.",
    )
    anchor_tokens: int = Field(64, ge=8, description="Tokens of an anchor text.")
    completion_weight: float = Field(
        1.0, ge=0, description="Weight of the cross-entropy on the rows; 0 leaves the terms and the anchor alone."
    )
    terms: Mapping[str, TermChoice] = Field(
        default_factory=dict, description="Loss terms to add, by name: built in, or from the group ratchet.loss_terms."
    )


METHOD = Method(
    name="sft-refusal",
    summary="Supervised fine-tuning on explanatory refusals, benign contrast and replay of the base model's own "
    "answers.",
    settings=SftSettings,
    trainer="ratchet_adapters.training.trainers.sft:train",
)
