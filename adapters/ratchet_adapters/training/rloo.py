"""`rloo`: REINFORCE on helpful times safe, each answer against the mean of the others in its group.

It must not import a trainer.
"""

from __future__ import annotations

from pydantic import Field

from ratchet_adapters.training.method import Method
from ratchet_adapters.training.policy import PolicySettings

__all__ = ["METHOD", "RlooSettings"]


class RlooSettings(PolicySettings):
    """The recipe of `rloo` (arXiv 2402.14740). The KL is part of the reward here, summed over an answer's tokens."""

    clip: float = Field(0.2, gt=0, lt=1, description="Clipping of the probability ratio of a whole answer.")
    beta: float = Field(0.02, ge=0, description="Weight of the KL in the reward, in nats of a whole answer.")
    whiten: bool = Field(False, description="Normalise advantages over the batch.")


METHOD = Method(
    name="rloo",
    summary="REINFORCE leave-one-out (RLOO) on helpful times safe half benign prompts, KL to its start.",
    settings=RlooSettings,
    trainer="ratchet_adapters.training.trainers.rloo:train",
)
