"""`orpo`: odds-ratio preference optimisation, without a reference model, for small machines.

It must not import a trainer: names and settings are asked for often, training is done rarely.
"""

from __future__ import annotations

from pydantic import Field

from ratchet_adapters.training.method import Method
from ratchet_adapters.training.preference import DATASET, PreferenceSettings

__all__ = ["METHOD", "OrpoSettings"]


class OrpoSettings(PreferenceSettings):
    """The recipe of `orpo`."""

    learning_rate: float = Field(1e-3, gt=0, description="Peak; warm-up, then cosine to zero.")
    epochs: float = Field(3.0, gt=0, le=20, description="Passes over the pairs.")
    odds_weight: float = Field(
        0.5,
        gt=0,
        description="λ: weight of −log σ(log odds ratio of chosen over rejected) beside the chosen answer's negative "
        "log-likelihood per token (arXiv 2403.07691, equation 6).",
    )


METHOD = Method(
    name="orpo",
    summary="Odds-ratio preference optimisation: learns the chosen answer and away from the rejected one in one pass, "
    "without a reference model.",
    settings=OrpoSettings,
    trainer="ratchet_adapters.training.trainers.orpo:train",
    dataset=DATASET,
)
