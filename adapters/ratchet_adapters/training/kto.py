"""`kto`: Kahneman-Tversky optimisation on single answers that were or were not wanted, for one-sided flags.

It must not import a trainer: names and settings are asked for often, training is done rarely.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from ratchet_adapters.training.method import Method
from ratchet_adapters.training.preference import DATASET, PreferenceSettings

__all__ = ["METHOD", "KtoSettings"]


class KtoSettings(PreferenceSettings):
    """The recipe of `kto`. The reference model is the base: the adapter switched off."""

    beta: float = Field(0.1, gt=0, description="How much a deviation from the base model counts; larger stays closer.")
    desirable_balance: float = Field(
        1.0,
        ge=1,
        le=4 / 3,
        description="λ_D n_D / (λ_U n_U): what wanted answers weigh in all, against the unwanted ones. The range is "
        "the paper's (arXiv 2402.01306, equation 8); the weights follow from the counts, the smaller of them is 1.",
    )

    @model_validator(mode="after")
    def _parts_have_neighbours(self) -> KtoSettings:
        if self.batch_size // self.accumulate < 2:
            raise ValueError(
                "batch_size must be at least twice accumulate: the KL of a part is estimated by exchanging the answers "
                "of its rows"
            )
        return self


METHOD = Method(
    name="kto",
    summary="Kahneman-Tversky optimisation: flagged answers and needless refusals are unwanted, refusals and answers "
    "wanted; needs no pairs.",
    settings=KtoSettings,
    trainer="ratchet_adapters.training.trainers.kto:train",
    dataset=DATASET,
)
