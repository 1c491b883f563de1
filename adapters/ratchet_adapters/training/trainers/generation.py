"""Answers of a model in training: batched, left-padded, by the chat template or as plain continuations.

It must not know what the answers are for. Gradients are off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["generate", "rendered", "sample_ids"]


def rendered(tokenizer: Any, prompt: str) -> str:
    """Return one user message in the model's chat template, up to where the answer begins."""
    text: str = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return text


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    max_tokens: int,
    chat: bool = True,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 32,
) -> list[str]:
    """Return one answer per prompt, in order.

    Args:
        model: In eval mode, or with no dropout.
        tokenizer: With a pad token.
        prompts: User messages, or openings of a text when `chat` is false.
        max_tokens: Of an answer.
        temperature: 0 for greedy.
        seed: Of the sampling; the global random state is left as it was.
        batch_size: Prompts at once.
    """
    texts = [""] * len(prompts)
    sources = [rendered(tokenizer, prompt) if chat else prompt for prompt in prompts]
    ids = [tokenizer(source, add_special_tokens=False)["input_ids"] for source in sources]
    order = sorted(range(len(ids)), key=lambda number: len(ids[number]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        completions = sample_ids(
            model,
            [ids[number] for number in chosen],
            pad=tokenizer.pad_token_id,
            end=tokenizer.eos_token_id,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed + start,
        )
        for number, completion in zip(chosen, completions, strict=True):
            texts[number] = tokenizer.decode(completion, skip_special_tokens=True)
    return texts


def sample_ids(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    pad: int,
    end: int,
    max_tokens: int,
    temperature: float,
    seed: int,
) -> list[list[int]]:
    """Return completions as token ids, each up to and with its end mark.

    Args:
        model: With `generate` of transformers.
        prompts: Token ids of each prompt.
        pad, end: Token ids.
        max_tokens: Most tokens of a completion.
        temperature: 0 for greedy.
        seed: The global random state is seeded with it for the sampling and restored afterwards.
    """
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    sampling = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature
        else {"do_sample": False}
    )
    with torch.no_grad(), torch.random.fork_rng(enabled=True):
        torch.manual_seed(seed)
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_tokens,
            pad_token_id=pad,
            eos_token_id=end,
            **sampling,
        )
    completions = []
    for row in found[:, longest:].tolist():
        completions.append(row[: row.index(end) + 1] if end in row else row)
    return completions
