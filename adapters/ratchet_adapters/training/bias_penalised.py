"""`bias-penalised`: supervised fine-tuning plus how differently the model treats texts that differ in a group only.

It must not import a trainer: names and settings are asked for often, training is done rarely.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import Field

from ratchet_adapters.training.loss_term import TermChoice
from ratchet_adapters.training.method import Method
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.weight import Fixed

__all__ = ["METHOD", "BiasPenalisedSettings"]

_TERMS: Mapping[str, TermChoice] = MappingProxyType({"counterfactual": TermChoice(weight=Fixed(value=1.0))})


class BiasPenalisedSettings(SftSettings):
    """The recipe of `bias-penalised`: L = CE + λ·L_bias + anchor KL."""

    learning_rate: float = Field(1e-3, gt=0, description="Peak; warm-up, then cosine to zero.")
    batch_size: int = Field(8, ge=1, description="Rows of ordinary answers per step; the terms draw pairs besides.")
    epochs: float = Field(5.0, gt=0, le=20, description="Passes over the ordinary answers.")
    anchor_weight: float = Field(2.0, ge=0, description="Weight of KL(base || adapter) on one plain text per step.")
    terms: Mapping[str, TermChoice] = Field(
        default_factory=lambda: dict(_TERMS),
        description="Loss terms. `counterfactual` compares likelihoods and next tokens of the dataset's pairs; "
        "`frozen-classifier` what a fixed classifier reads from hidden states. Given anew, they replace the default.",
    )


METHOD = Method(
    name="bias-penalised",
    summary="Supervised fine-tuning plus the gap between texts that differ only in a group of people, in likelihood "
    "and in what would be said next.",
    settings=BiasPenalisedSettings,
    trainer="ratchet_adapters.training.trainers.sft:train",
    dataset={
        "pairs": 640,
        "min_refusals": 0,
        "max_refusals": 0,
        "seed_harmful": 0,
        "min_contrast": 0,
        "max_contrast": 0,
    },
)
