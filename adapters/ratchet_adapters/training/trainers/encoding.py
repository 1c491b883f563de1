"""Rows of a dataset to token ids: the model's own chat template, completions cut, prompts without what they share.

It must not know the loss, nor tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.sft_refusal import SftSettings

__all__ = ["Encoded", "Lessons", "encode"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row in tokens: what of the rendered prompt is its own, then the completion."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


@dataclass(frozen=True)
class Lessons:
    """All rows in tokens.

    Attributes:
        prefix: The tokens every rendered prompt begins with: the system message of the chat template.
        rows: Train rows.
        validation: Held-out rows.
        anchors: Plain texts, without the chat template.
    """

    prefix: tuple[int, ...]
    rows: tuple[Encoded, ...]
    validation: tuple[Encoded, ...]
    anchors: tuple[tuple[int, ...], ...]

    @property
    def tokens(self) -> int:
        """Tokens of one pass over the train rows, the shared prefix counted once per row."""
        return sum(len(self.prefix) + len(row) for row in self.rows)


def encode(train: Sequence[Row], validation: Sequence[Row], tokenizer: Any, settings: SftSettings) -> Lessons:
    """Return the rows in tokens, those with over-long prompts left out.

    A completion that had to be cut gets no end-of-turn token, so that the model does not learn to stop in
    mid-sentence. A share of the refusals is kept whole, so that it does learn how they end.
    """
    rng = Random(settings.seed)
    anchors = tuple(
        ids
        for row in train
        if row.kind is RowKind.ANCHOR and len(ids := _ids(tokenizer, row.target, settings.anchor_tokens)) > 1
    )
    pairs = [_pair(row, tokenizer, settings, rng) for row in train if row.kind is not RowKind.ANCHOR]
    pairs += _recoveries(train, tokenizer, settings, rng)
    held_out = [_pair(row, tokenizer, settings, rng) for row in validation if row.kind is not RowKind.ANCHOR]
    limit = settings.prompt_tokens
    pairs = [pair for pair in pairs if len(pair[0]) <= limit]
    held_out = [pair for pair in held_out if len(pair[0]) <= limit]
    prompts = [prompt for prompt, _ in (*pairs, *held_out)]
    shared = _shared(prompts)
    return Lessons(
        prefix=tuple(prompts[0][:shared]) if prompts else (),
        rows=tuple(Encoded(tuple(prompt[shared:]), tuple(completion)) for prompt, completion in pairs),
        validation=tuple(Encoded(tuple(prompt[shared:]), tuple(completion)) for prompt, completion in held_out),
        anchors=anchors,
    )


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with.

    One token of each prompt stays its own: the first completion token is predicted from it.
    """
    shared = 0
    for tokens in zip(*(prompt[:-1] for prompt in prompts), strict=False):
        if len(set(tokens)) > 1:
            break
        shared += 1
    return shared


def _pair(row: Row, tokenizer: Any, settings: SftSettings, rng: Random) -> tuple[list[int], list[int]]:
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": row.prompt}], tokenize=False, add_generation_prompt=True
    )
    prompt: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    limit = settings.answer_tokens
    if row.kind is RowKind.REFUSAL:
        limit = settings.whole_tokens if rng.random() < settings.whole_share else settings.refusal_tokens
    completion: list[int] = tokenizer(row.target.strip(), add_special_tokens=False)["input_ids"]
    if len(completion) > limit:
        return prompt, completion[:limit]
    return prompt, [*completion, tokenizer.eos_token_id]


def _recoveries(
    train: Sequence[Row], tokenizer: Any, settings: SftSettings, rng: Random
) -> list[tuple[list[int], list[int]]]:
    """Refusals behind the first tokens of the answer that was flagged; those tokens count as prompt."""
    pairs = []
    for row in train:
        if row.kind is not RowKind.REFUSAL or not row.rejected.strip() or rng.random() >= settings.recovery_share:
            continue
        wrong: list[int] = tokenizer(row.rejected.strip(), add_special_tokens=False)["input_ids"]
        prompt, refusal = _pair(row, tokenizer, settings, rng)
        pairs.append((prompt + wrong[: rng.randint(1, settings.recovery_tokens)], refusal))
    return pairs


def _ids(tokenizer: Any, text: str, limit: int) -> tuple[int, ...]:
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return tuple([*start, *tokenizer(text, add_special_tokens=False)["input_ids"]][:limit])
