"""GRPO with TRL: the advantage of an answer is its reward less the mean of its group; resumable and deterministic.

It must not know what the reward is made of.
"""

from __future__ import annotations

from typing import cast

from ratchet_adapters.training.grpo import GrpoSettings
from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.trainers.session import OnProgress, Session, Work, carry_out

__all__ = ["train"]


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train `grpo`; see `carry_out`.

    Raises:
        PromptsMissing: There are harmful prompts only, or benign ones only.
        RewardUnknown, RewardOptionsInvalid, PenaltyUnknown, PenaltyOptionsInvalid: The recipe names what is not there.
    """
    return carry_out(job, on_progress, _prepare)


def _prepare(session: Session) -> Work:
    from trl import GRPOConfig, GRPOTrainer

    from ratchet_adapters.training.trainers.policy_gradient import PolicyMixin, policy_work

    class Policy(PolicyMixin, GRPOTrainer):  # type: ignore[misc]
        """GRPO on our terms."""

    settings = cast(GrpoSettings, session.job.settings)
    return policy_work(
        session,
        Policy,
        GRPOConfig,
        epsilon=settings.clip,
        scale_rewards="group" if settings.scale_by_spread else "none",
        # Divides by the longest answer, not by each one's length, which would favour long bad answers.
        loss_type="dr_grpo",
    )
