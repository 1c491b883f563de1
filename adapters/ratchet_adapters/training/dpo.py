"""`dpo`: direct preference optimisation on safety pairs, reordered by safety ratings as in SafeDPO.

It must not import a trainer: names and settings are asked for often, training is done rarely.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ratchet_adapters.training.method import Method
from ratchet_adapters.training.preference import DATASET, PreferenceSettings

__all__ = ["METHOD", "DpoSettings"]


class DpoSettings(PreferenceSettings):
    """The recipe of `dpo`. The reference model is the base: the adapter switched off."""

    learning_rate: float = Field(2e-3, gt=0, description="Peak; warm-up, then cosine to zero.")
    epochs: float = Field(3.0, gt=0, le=20, description="Passes over the pairs.")
    beta: float = Field(0.1, gt=0, description="How much a deviation from the base model counts; larger stays closer.")
    safety_margin: float = Field(
        2.0,
        ge=0,
        description="Δ of SafeDPO: by how much more a safe answer has to be preferred to an unsafe one, inside the "
        "sigmoid (arXiv 2505.20065). Pairs of two safe answers, such as over-refusal pairs, have none.",
    )
    chosen_nll_weight: float = Field(
        0.1,
        ge=0,
        description="Weight of the mean negative log-likelihood per token of the chosen answers, which keeps them from "
        "becoming less likely while the rejected ones do so faster.",
    )
    flag_noise: float = Field(
        0.1,
        ge=0,
        lt=0.5,
        description="Assumed share of flags that are wrong. Pairs from flags are smoothed by it, pairs from seed "
        "prompts are not.",
    )
    smoothing: Literal["conservative", "robust"] = Field(
        "conservative",
        description="conservative: the expected loss under flag_noise (cDPO). robust: an unbiased estimate of the loss "
        "without noise (arXiv 2403.00409); less bounded.",
    )


METHOD = Method(
    name="dpo",
    summary="Direct preference optimisation: a refusal over the flagged answer, an answer over a needless refusal, "
    "with the safety ordering and margin of SafeDPO.",
    settings=DpoSettings,
    trainer="ratchet_adapters.training.trainers.dpo:train",
    dataset=DATASET,
)
