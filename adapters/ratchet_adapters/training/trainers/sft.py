"""Supervised fine-tuning of a LoRA adapter with TRL and PEFT, alone or with loss terms; resumable and deterministic.

It must not know where the dataset came from, nor which process it runs in.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import cast

from ratchet_adapters.datasets.dataset import RowKind, Split
from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.trainers.encoding import encode
from ratchet_adapters.training.trainers.schedule import Batch, schedule, shares
from ratchet_adapters.training.trainers.session import OnProgress, Session, Work, carry_out
from ratchet_adapters.training.trainers.workers import workers

__all__ = ["train"]

_TAUGHT = (RowKind.REFUSAL, RowKind.CONTRAST, RowKind.REPLAY)


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train `sft-refusal`, or a method whose settings add terms to it; see `carry_out`."""
    return carry_out(job, on_progress, _prepare)


def _prepare(session: Session) -> Work:
    import math

    from datasets import Dataset as Table
    from trl import SFTConfig

    from ratchet_adapters.training.trainers.completion_trainer import BatchCollator, CompletionTrainer
    from ratchet_adapters.training.trainers.terms import Terms

    settings = cast(SftSettings, session.job.settings)
    tokenizer = session.tokenizer
    lessons = encode(
        session.rows(*_TAUGHT, RowKind.ANCHOR),
        session.rows(*_TAUGHT, RowKind.ANCHOR, split=Split.VALIDATION),
        tokenizer,
        settings,
    )
    batches = schedule(len(lessons.rows), len(lessons.anchors), settings)
    held_out = range(len(lessons.validation))
    checks = [Batch(tuple(held_out[start : start + settings.batch_size])) for start in held_out[:: settings.batch_size]]
    terms = Terms(settings.terms, settings.seed)
    trainer = CompletionTrainer(
        model=session.model,
        args=session.arguments(
            SFTConfig,
            max_steps=math.ceil(len(batches) / settings.accumulate),
            # One element of the dataset is one worker's share of one scheduled part of a step; workers take turns.
            per_device_train_batch_size=1,
            per_device_eval_batch_size=1,
            train_sampling_strategy="sequential",
            dataset_kwargs={"skip_prepare_dataset": True},
            remove_unused_columns=False,
            prediction_loss_only=True,
        ),
        train_dataset=Table.from_list(
            [{**asdict(share), "held_out": False} for share in shares(batches, workers())] or [{"rows": []}]
        ),
        eval_dataset=Table.from_list([{**asdict(share), "held_out": True} for share in shares(checks, 1)])
        if checks
        else None,
        processing_class=tokenizer,
        data_collator=BatchCollator(lessons, settings, tokenizer.pad_token_id),
        callbacks=[terms] if terms else [],
        settings=settings,
        autocast=session.precision == "bf16",
        terms=terms,
        rows_by_kind={kind: tuple(session.rows(kind)) for kind in RowKind},
    )
    return Work(trainer, rows=len(lessons.rows), tokens=lessons.tokens)
