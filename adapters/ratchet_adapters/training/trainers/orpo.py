"""ORPO of a LoRA adapter with TRL: one pass over a pair, no reference model.

It must not know where the dataset came from, nor which process it runs in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.orpo import OrpoSettings
from ratchet_adapters.training.trainers.pairs import EncodedPair
from ratchet_adapters.training.trainers.preference import session_pairs
from ratchet_adapters.training.trainers.session import OnProgress, Session, Work, carry_out

__all__ = ["train"]


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train `orpo`; see `carry_out`."""
    return carry_out(job, on_progress, _prepare)


def _prepare(session: Session) -> Work:
    from datasets import Dataset as Table
    from trl.experimental.orpo import ORPOConfig
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    from ratchet_adapters.training.trainers.anchoring import session_anchors
    from ratchet_adapters.training.trainers.orpo_trainer import OddsTrainer

    settings = cast(OrpoSettings, session.job.settings)
    taught, made, watched = session_pairs(session, settings)
    trainer = OddsTrainer(
        model=session.model,
        args=session.arguments(
            ORPOConfig, beta=settings.odds_weight, remove_unused_columns=False, prediction_loss_only=True
        ),
        data_collator=DataCollatorForPreference(pad_token_id=session.tokenizer.pad_token_id),
        train_dataset=Table.from_list(_rows(taught)),
        eval_dataset=Table.from_list(_rows(watched)) if watched else None,
        processing_class=session.tokenizer,
        autocast=session.precision == "bf16",
        anchors=session_anchors(session, settings),
        counts=made.metrics,
    )
    return Work(trainer, rows=len(taught), tokens=sum(pair.tokens for pair in taught))


def _rows(pairs: Sequence[EncodedPair]) -> list[dict[str, Any]]:
    return [
        {"prompt_ids": list(one.prompt), "chosen_ids": list(one.chosen), "rejected_ids": list(one.rejected)}
        for one in pairs
    ]
