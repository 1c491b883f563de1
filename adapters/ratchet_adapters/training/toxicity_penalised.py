"""`toxicity-penalised`: supervised fine-tuning plus the expected toxicity of what the model says itself.

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

__all__ = ["METHOD", "ToxicityPenalisedSettings"]

_TERMS: Mapping[str, TermChoice] = MappingProxyType({"penalised-sampling": TermChoice(weight=Fixed(value=1.0))})


class ToxicityPenalisedSettings(SftSettings):
    """The recipe of `toxicity-penalised`: L = CE + λ·(E[toxicity(y)] + β·KL(policy || base)), y from the policy."""

    terms: Mapping[str, TermChoice] = Field(
        default_factory=lambda: dict(_TERMS),
        description="Loss terms. `penalised-sampling` samples continuations of the dataset's openings; `unlikelihood` "
        "unlearns logged toxic answers without sampling. Given anew, they replace the default as a whole.",
    )


METHOD = Method(
    name="toxicity-penalised",
    summary="Supervised fine-tuning plus a penalty on the toxicity of the model's own continuations (score-function "
    "gradient), KL to the base model.",
    settings=ToxicityPenalisedSettings,
    trainer="ratchet_adapters.training.trainers.sft:train",
    dataset={
        "openings": 120,
        "rejected": "flagged",
        "min_refusals": 0,
        "max_refusals": 0,
        "seed_harmful": 0,
        "min_contrast": 0,
        "max_contrast": 0,
    },
)
