"""Rows of a dataset to token ids: the model's own chat template, the completion marked, cut and ordered.

It must not know the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.settings import SftSettings

__all__ = ["Encoded", "encode", "schedule"]

_MEGA_BATCH = 16


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row in tokens: the rendered prompt, then the completion."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    anchored: bool
    """Whether the adapter should stay close to the base model here: true for everything but refusals."""

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def encode(rows: Sequence[Row], tokenizer: Any, settings: SftSettings) -> list[Encoded]:
    """Return the rows in tokens, those with over-long prompts left out.

    A refusal always ends with the end-of-turn token. An answer that had to be cut does not, so that the model does not
    learn to stop in mid-sentence.
    """
    encoded = []
    for row in rows:
        rendered = tokenizer.apply_chat_template(
            [{"role": "user", "content": row.prompt}], tokenize=False, add_generation_prompt=True
        )
        prompt = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        if len(prompt) > settings.prompt_tokens:
            continue
        completion = tokenizer(row.target.strip(), add_special_tokens=False)["input_ids"]
        refusal = row.kind is RowKind.REFUSAL
        limit = settings.refusal_tokens if refusal else settings.answer_tokens
        cut = len(completion) > limit
        completion = completion[:limit]
        if refusal or not cut:
            completion = [*completion, tokenizer.eos_token_id]
        encoded.append(Encoded(tuple(prompt), tuple(completion), not refusal))
    return encoded


def schedule(lengths: Sequence[int], settings: SftSettings) -> list[list[int]]:
    """Return the batches of the whole training as row numbers, rows of like length together.

    The order is fixed before training begins, so that a resumed job sees exactly the batches it has not seen.

    Args:
        lengths: Tokens per row.
        settings: Seed, batch size, epochs.
    """
    rng = Random(settings.seed)
    size = settings.batch_size
    per_epoch = math.ceil(len(lengths) / size)
    steps = max(1, math.ceil(per_epoch * settings.epochs))
    batches: list[list[int]] = []
    while len(batches) < steps:
        order = list(range(len(lengths)))
        rng.shuffle(order)
        epoch = []
        for start in range(0, len(order), size * _MEGA_BATCH):
            group = sorted(order[start : start + size * _MEGA_BATCH], key=lambda index: lengths[index])
            epoch += [group[i : i + size] for i in range(0, len(group), size)]
        rng.shuffle(epoch)
        batches += epoch
    return batches[:steps]
