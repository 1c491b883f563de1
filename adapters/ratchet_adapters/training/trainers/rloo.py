"""RLOO with TRL: an answer's advantage is its reward less the mean of the others in its group; resumable.

It must not know what the reward is made of.
"""

from __future__ import annotations

from typing import cast

from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.rloo import RlooSettings
from ratchet_adapters.training.trainers.session import OnProgress, Session, Work, carry_out

__all__ = ["train"]


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train `rloo`; see `carry_out`.

    Raises:
        PromptsMissing: There are harmful prompts only, or benign ones only.
        RewardUnknown, RewardOptionsInvalid, PenaltyUnknown, PenaltyOptionsInvalid: The recipe names what is not there.
    """
    return carry_out(job, on_progress, _prepare)


def _prepare(session: Session) -> Work:
    from trl import RLOOConfig, RLOOTrainer

    from ratchet_adapters.training.trainers.policy_gradient import PolicyMixin, policy_work

    class Policy(PolicyMixin, RLOOTrainer):  # type: ignore[misc]
        """RLOO on our terms."""

    settings = cast(RlooSettings, session.job.settings)
    return policy_work(
        session,
        Policy,
        RLOOConfig,
        epsilon=settings.clip,
        normalize_advantages=settings.whiten,
    )
