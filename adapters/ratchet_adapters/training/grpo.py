"""`grpo`: policy gradient on helpful times safe, each answer against the mean of its group.

It must not import a trainer.
"""

from __future__ import annotations

from pydantic import Field

from ratchet_adapters.training.method import Method
from ratchet_adapters.training.policy import PolicySettings

__all__ = ["METHOD", "GrpoSettings"]


class GrpoSettings(PolicySettings):
    """The recipe of `grpo` (arXiv 2402.03300)."""

    clip: float = Field(0.2, gt=0, lt=1, description="Clipping of the probability ratio.")
    scale_by_spread: bool = Field(
        False,
        description="Divide advantages by the group's standard deviation. Small groups make that noise (arXiv "
        "2503.20783).",
    )


METHOD = Method(
    name="grpo",
    summary="Group-relative policy gradient (GRPO) on helpful times safe, half benign prompts, KL to its start.",
    settings=GrpoSettings,
    trainer="ratchet_adapters.training.trainers.grpo:train",
)
