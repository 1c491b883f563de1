"""KTO of a LoRA adapter with TRL: single answers, wanted or not, with weights that balance them.

It must not know where the dataset came from, nor which process it runs in.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, cast

from ratchet_adapters.training.errors import NothingToTrain
from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.kto import KtoSettings
from ratchet_adapters.training.trainers.pairs import EncodedPair
from ratchet_adapters.training.trainers.preference import session_pairs
from ratchet_adapters.training.trainers.session import OnProgress, Session, Work, carry_out

__all__ = ["balanced_weights", "train"]


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train `kto`; see `carry_out`."""
    return carry_out(job, on_progress, _prepare)


def balanced_weights(desirable: int, undesirable: int, balance: float) -> tuple[float, float]:
    """Return λ_D and λ_U for these counts, both above 0: λ_D n_D = balance * λ_U n_U, and the smaller λ is 1.

    Source: arXiv 2402.01306, equation 8.
    """
    ratio = balance * undesirable / desirable
    return (ratio, 1.0) if ratio >= 1 else (1.0, 1 / ratio)


def _prepare(session: Session) -> Work:
    from datasets import Dataset as Table
    from trl import KTOConfig
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    from ratchet_adapters.training.trainers.anchoring import session_anchors
    from ratchet_adapters.training.trainers.kto_trainer import AnswerTrainer

    settings = cast(KtoSettings, session.job.settings)
    taught, made, watched = session_pairs(session, settings, single=True)
    examples, held_out = _examples(taught, settings), _examples(watched, settings)
    desirable = sum(example["label"] for example in examples)
    undesirable = len(examples) - desirable
    if not desirable or not undesirable:
        raise NothingToTrain(session.job.dataset)
    weights = balanced_weights(desirable, undesirable, settings.desirable_balance)
    collator = DataCollatorForUnpairedPreference(pad_token_id=session.tokenizer.pad_token_id)
    size = settings.batch_size // settings.accumulate
    trainer = AnswerTrainer(
        model=session.model,
        args=session.arguments(
            KTOConfig,
            beta=settings.beta,
            desirable_weight=weights[0],
            undesirable_weight=weights[1],
            max_length=None,
            per_device_eval_batch_size=size,
            prediction_loss_only=True,
        ),
        data_collator=collator,
        train_dataset=Table.from_list(_rows(session, examples, collator, size)),
        eval_dataset=Table.from_list(_rows(session, held_out, collator, size)) if len(held_out) > 1 else None,
        processing_class=session.tokenizer,
        autocast=session.precision == "bf16",
        anchors=session_anchors(session, settings),
        counts={
            **made.metrics,
            "desirable": float(desirable),
            "undesirable": float(undesirable),
            "desirable_weight": weights[0],
            "undesirable_weight": weights[1],
        },
    )
    return Work(trainer, rows=len(trainer.train_dataset), tokens=sum(pair.tokens for pair in taught))


def _examples(pairs: Sequence[EncodedPair], settings: KtoSettings) -> list[dict[str, Any]]:
    """Single answers in a random order that spreads both sorts evenly, so that every batch has some of each.

    TRL goes through them in this order, since a row's KL partner is its neighbour.
    """
    rng = Random(settings.seed)
    placed: list[tuple[float, int, dict[str, Any]]] = []
    for wanted in (True, False):
        ids = [(found, found.chosen if wanted else found.rejected) for found in pairs]
        ids = [(found, answer) for found, answer in ids if answer]
        rng.shuffle(ids)
        for number, (found, answer) in enumerate(ids):
            example = {"prompt_ids": list(found.prompt), "completion_ids": list(answer), "label": wanted}
            placed.append(((number + rng.random()) / len(ids), len(placed), example))
    return [example for _, _, example in sorted(placed, key=lambda entry: entry[:2])]


def _rows(session: Session, examples: list[dict[str, Any]], collator: Any, size: int) -> list[dict[str, Any]]:
    """Table rows with KL partners and the base model's log-probabilities, computed once."""
    from ratchet_adapters.training.trainers.answers import reference_log_probs

    parts = [examples[start : start + size] for start in range(0, len(examples), size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        # A row by itself would be its own KL partner.
        parts.pop()
    for part in parts:
        for number, example in enumerate(part):
            example["KL_completion_ids"] = part[number - 1]["completion_ids"]
    batches = [collator(part) for part in parts]
    autocast = session.precision == "bf16"
    for name, prefix in (("ref_logps", ""), ("ref_KL_logps", "KL_")):
        for part, log_probs in zip(parts, reference_log_probs(session.model, batches, autocast, prefix), strict=True):
            for example, value in zip(part, log_probs, strict=True):
                example[name] = value
    return [example for part in parts for example in part]
