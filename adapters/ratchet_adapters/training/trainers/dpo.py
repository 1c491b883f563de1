"""DPO of a LoRA adapter with TRL: the safety ordering and margin of SafeDPO, smoothing for wrong flags.

It must not know where the dataset came from, nor which process it runs in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from ratchet_adapters.training.dpo import DpoSettings
from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.trainers.pairs import EncodedPair
from ratchet_adapters.training.trainers.preference import session_pairs
from ratchet_adapters.training.trainers.session import OnProgress, Session, Work, carry_out

__all__ = ["train"]


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train `dpo`; see `carry_out`."""
    return carry_out(job, on_progress, _prepare)


def _prepare(session: Session) -> Work:
    from datasets import Dataset as Table
    from trl import DPOConfig

    from ratchet_adapters.training.trainers.anchoring import session_anchors
    from ratchet_adapters.training.trainers.dpo_trainer import PairCollator, SafetyTrainer

    settings = cast(DpoSettings, session.job.settings)
    taught, made, watched = session_pairs(session, settings)
    collator = PairCollator(pad_token_id=session.tokenizer.pad_token_id)
    trainer = SafetyTrainer(
        model=session.model,
        args=session.arguments(DPOConfig, beta=settings.beta, max_length=None, prediction_loss_only=True),
        data_collator=collator,
        train_dataset=Table.from_list(_rows(session, taught, settings, collator)),
        eval_dataset=Table.from_list(_rows(session, watched, settings, collator)) if watched else None,
        processing_class=session.tokenizer,
        autocast=session.precision == "bf16",
        anchors=session_anchors(session, settings),
        counts=made.metrics,
        settings=settings,
    )
    return Work(trainer, rows=len(taught), tokens=sum(pair.tokens for pair in taught))


def _rows(session: Session, pairs: Sequence[EncodedPair], settings: DpoSettings, collator: Any) -> list[dict[str, Any]]:
    """Table rows with the base model's log-probabilities, computed once: every epoch would ask for them again."""
    from ratchet_adapters.training.trainers.answers import reference_log_probs

    rows = [
        {
            "prompt_ids": list(found.prompt),
            "chosen_ids": list(found.chosen),
            "rejected_ids": list(found.rejected),
            "margin": settings.safety_margin * (found.pair.rejected_unsafe - found.pair.chosen_unsafe),
            "noise": settings.flag_noise if found.pair.flagged else 0.0,
        }
        for found in pairs
    ]
    # Batches of one length waste nothing on padding; the order of the rows themselves stays.
    order = sorted(range(len(rows)), key=lambda number: pairs[number].tokens)
    size = settings.batch_size // settings.accumulate
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    batches = [collator([rows[number] for number in part]) for part in parts]
    for part, log_probs in zip(
        parts, reference_log_probs(session.model, batches, session.precision == "bf16"), strict=True
    ):
        for place, number in enumerate(part):
            rows[number]["ref_chosen_logps"] = log_probs[place]
            rows[number]["ref_rejected_logps"] = log_probs[len(part) + place]
    return rows
