"""`constitutional`: supervised fine-tuning on answers that a critic revised by written principles.

It must not import a trainer, nor revise: that is a step of the dataset build (see `constitution.revise`).
"""

from __future__ import annotations

from pydantic import Field

from ratchet_adapters.training.method import Method
from ratchet_adapters.training.sft_refusal import SftSettings

__all__ = ["CONSTITUTIONAL", "METHOD", "ConstitutionalSettings"]

CONSTITUTIONAL = "constitutional"


class ConstitutionalSettings(SftSettings):
    """The recipe of `constitutional`: that of `sft-refusal`, with more of each revision taught."""

    whole_share: float = Field(0.5, ge=0, le=1, description="Share of the refusals taught to their end.")
    least_revised: int = Field(
        8, ge=1, description="Fewer kept revisions than this in the dataset are an error: it would be sft-refusal."
    )


METHOD = Method(
    name=CONSTITUTIONAL,
    summary="Supervised fine-tuning on answers that a critic revised by written principles.",
    settings=ConstitutionalSettings,
    trainer="ratchet_adapters.training.trainers.constitutional:train",
    dataset={"rejected": "asked"},
)
