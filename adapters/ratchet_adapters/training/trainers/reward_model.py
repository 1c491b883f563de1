"""Trains a reward model with TRL: LoRA and a head, -log sigmoid(chosen - rejected) on pairs; resumable.

It must not know what the scores are used for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.reward_model import RewardModelSettings
from ratchet_adapters.training.trainers.session import OnProgress, Session, Work, carry_out

__all__ = ["Pair", "pairs", "train"]

_KINDS = {
    "safe": (RowKind.REFUSAL,),
    "helpful": (RowKind.CONTRAST, RowKind.REPLAY),
    "overall": (RowKind.REFUSAL, RowKind.CONTRAST, RowKind.REPLAY),
}

_TRAIN_SCORED = 64
"""Train pairs that are scored at the end: enough for their middle and for how far they are overfitted."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt in tokens, the prompt in front of both."""

    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train and write the folder of a reward model; see `carry_out`.

    Raises:
        NothingToTrain: No row of the head's kinds has a rejected answer.
    """
    from ratchet_adapters.training.trainers.reward_saving import save_reward_model

    opened: list[tuple[Session, Any]] = []

    def prepare(session: Session) -> Work:
        work = _prepare(session)
        opened.append((session, work.trainer))
        return work

    trained = job.work / "trained"
    result = carry_out(replace(job, output=trained), on_progress, prepare)
    ((session, trainer),) = opened
    network = trainer.accelerator.unwrap_model(trainer.model)
    network.eval()
    tokenizer = session.tokenizer
    settings = cast(RewardModelSettings, job.settings)
    margins = {}
    for split in Split:
        found = pairs(session.rows(*_KINDS[settings.head], split=split), tokenizer, settings)
        if split is Split.TRAIN:
            found = Random(settings.seed).sample(found, min(len(found), _TRAIN_SCORED))
        margins[split] = _margins(network, found, tokenizer)
    save_reward_model(job, session.dataset, trained, settings.head, margins)
    return replace(result, adapter=job.output)


def pairs(rows: Iterable[Row], tokenizer: Any, settings: RewardModelSettings) -> list[Pair]:
    """Return the rows that have both answers and fit, in tokens."""
    from ratchet_adapters.training.trainers.reward_network import encode

    found = []
    for row in rows:
        both = [
            encode(
                tokenizer, row.prompt, text, prompt_tokens=settings.prompt_tokens, answer_tokens=settings.answer_tokens
            )
            for text in (row.target, row.rejected)
        ]
        if both[0] is not None and both[1] is not None and both[0] != both[1]:
            found.append(Pair(tuple(both[0]), tuple(both[1])))
    return found


def _prepare(session: Session) -> Work:
    from datasets import Dataset as Table
    from transformers import set_seed
    from trl import RewardConfig

    from ratchet_adapters.training.trainers.pair_trainer import PairTrainer
    from ratchet_adapters.training.trainers.reward_network import build

    settings = cast(RewardModelSettings, session.job.settings)
    tokenizer = session.tokenizer
    kinds = _KINDS[settings.head]
    taught = pairs(session.rows(*kinds), tokenizer, settings)
    held_out = pairs(session.rows(*kinds, split=Split.VALIDATION), tokenizer, settings)
    order = _order(len(taught), settings)
    set_seed(settings.seed)
    trainer = PairTrainer(
        model=build(session.job.model, settings, session.precision, tokenizer.pad_token_id),
        args=session.arguments(
            RewardConfig,
            max_steps=max(1, len(order) // settings.batch_size),
            # The order is drawn once for all passes, so that a resumed training goes on in it.
            train_sampling_strategy="sequential",
            per_device_eval_batch_size=settings.batch_size,
            max_length=None,
            center_rewards_coefficient=settings.centre or None,
        ),
        train_dataset=_table(Table, [taught[number] for number in order]),
        eval_dataset=_table(Table, held_out) if held_out else None,
        processing_class=tokenizer,
    )
    return Work(trainer, rows=len(taught), tokens=sum(len(pair.chosen) + len(pair.rejected) for pair in taught))


def _order(count: int, settings: RewardModelSettings) -> list[int]:
    """Row numbers of all passes, each pass in its own order, cut to whole batches; one batch at least."""
    if not count:
        return []
    rng = Random(settings.seed)
    steps = max(1, math.ceil(settings.epochs * count / settings.batch_size))
    order: list[int] = []
    while len(order) < steps * settings.batch_size:
        order += rng.sample(range(count), count)
    return order[: steps * settings.batch_size]


def _table(kind: Any, rows: Sequence[Pair]) -> Any:
    # A table without rows still needs its columns.
    return kind.from_dict(
        {"chosen_ids": [list(row.chosen) for row in rows], "rejected_ids": [list(row.rejected) for row in rows]}
        if rows
        else {"chosen_ids": [[0]], "rejected_ids": [[0]]}
    )


def _margins(network: Any, found: Sequence[Pair], tokenizer: Any) -> list[tuple[float, float]]:
    """(chosen, rejected) scores of each pair."""
    from ratchet_adapters.training.trainers.reward_network import score

    pad = tokenizer.pad_token_id
    chosen = score(network, [pair.chosen for pair in found], pad)
    rejected = score(network, [pair.rejected for pair in found], pad)
    return list(zip(chosen, rejected, strict=True))
