"""RLOO with TRL: an answer's advantage is its reward less the mean of the others in its group; resumable.

It must not know what the reward is made of.
"""

from __future__ import annotations

from typing import cast

from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.rloo import RlooSettings
from ratchet_adapters.training.trainers.session import OnProgress, Session, Work, carry_out, tokens_of

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

    from ratchet_adapters.training.trainers.policy_gradient import (
        PolicyMixin,
        combined_reward,
        order_of_prompts,
        policy_arguments,
        prompt_table,
        reward_function,
    )

    class Policy(PolicyMixin, RLOOTrainer):  # type: ignore[misc]
        """RLOO on our terms."""

    settings = cast(RlooSettings, session.job.settings)
    rows = order_of_prompts(session)
    trainer = Policy(
        model=session.model,
        reward_funcs=reward_function(combined_reward(session)),
        args=session.arguments(
            RLOOConfig,
            **policy_arguments(settings, rows),
            epsilon=settings.clip,
            normalize_advantages=settings.whiten,
        ),
        train_dataset=prompt_table(rows, settings),
        processing_class=session.tokenizer,
        autocast=session.precision == "bf16",
    )
    distinct = list({row.id: row for row in rows}.values())
    return Work(trainer, rows=len(distinct), tokens=tokens_of(distinct, session.tokenizer))
