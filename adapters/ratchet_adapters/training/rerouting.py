"""`rerouting`: representation rerouting ("circuit breakers"), with refusals taught beside it.

It must not import a trainer: names and settings are asked for often, training is done rarely.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ratchet_adapters.training.loss_term import TermChoice
from ratchet_adapters.training.method import Method
from ratchet_adapters.training.recipe import Module
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.weight import Fixed

__all__ = ["METHOD", "ReroutingOptions", "ReroutingSettings"]

NAME = "rerouting"


class ReroutingOptions(BaseModel):
    """Options of the loss term `rerouting`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(
        10.0, gt=0, description="Strength: α(1 − t/2T) on rerouting, αt/2T on retaining, at step t of T (the paper's)."
    )
    layers: tuple[float, ...] = Field(
        (0.33, 0.66),
        min_length=1,
        description="Depths whose hidden states are rerouted, as shares of the layers; the paper takes layers 10 and "
        "20 of 32. Hidden states change only at and behind the first adapted layer.",
    )
    texts: int = Field(4, ge=1, description="Harmful texts per step, and as many to retain.")
    completion_tokens: int = Field(40, ge=1, description="Answers and plain texts are cut after so many tokens.")
    prompt_tokens: int = Field(160, ge=8, description="Texts with longer rendered prompts are left out.")
    distance: Literal["relative", "absolute"] = Field(
        "relative",
        description="Of retained hidden states from the base model's, L2 per token. absolute: as in the paper. "
        "relative: as a share of the base state's length, so that one recipe serves models whose lengths differ "
        "(SmolLM2's go from 50 to 700).",
    )
    retain_factor: float = Field(
        1.5,
        gt=0,
        description="Multiplies the distance. A relative distance is at most about 1 where an absolute one is as large "
        "as the states are long; without a factor rerouting would outweigh retaining and spoil everything. Use 1 with "
        "absolute.",
    )

    @field_validator("layers")
    @classmethod
    def _depths(cls, layers: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < depth <= 1 for depth in layers):
            raise ValueError("layers are shares of the depth, above 0 and at most 1")
        return layers


class ReroutingSettings(SftSettings):
    """The recipe of `rerouting`.

    completion_weight 0 is the paper's method: harmful answers fall apart instead of being refused. Above it refusals,
    contrast and replay are taught as well.
    """

    learning_rate: float = Field(2e-3, gt=0, description="Peak; warm-up, then cosine to zero.")
    target_modules: tuple[Module, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="Linear layers that get an adapter.",
    )
    alpha: int = Field(16, ge=1, description="LoRA alpha; the change is scaled by alpha / rank.")
    first_layer: float = Field(0.0, ge=0, lt=1, description="Depth at which adapters begin, as a share of the layers.")
    last_layer: float = Field(0.67, gt=0, le=1, description="Depth at which adapters end, as a share of the layers.")
    epochs: float = Field(
        4.0,
        gt=0,
        le=20,
        description="Passes over the train rows. The cosine has no slope where training begins: with fewer than about "
        "fifty steps, a lower learning rate or a larger retain_factor nothing is rerouted.",
    )
    anchor_weight: float = Field(
        1.0,
        ge=0,
        description="Weight of KL(base || adapter) on one plain text per step.",
    )
    terms: Mapping[str, TermChoice] = Field(
        default_factory=lambda: {NAME: TermChoice(weight=Fixed(value=1.0))},
        description="Loss terms, by name. Options of `rerouting`: alpha, layers, texts, completion_tokens, "
        "prompt_tokens, distance, retain_factor.",
    )


METHOD = Method(
    name=NAME,
    summary="Turns the hidden states of harmful answers away from the base model's and holds those of all others.",
    settings=ReroutingSettings,
    trainer="ratchet_adapters.training.trainers.sft:train",
    dataset={"rejected": "asked"},
)
