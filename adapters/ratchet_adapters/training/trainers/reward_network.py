"""The network of a reward model: the base model's body with LoRA, and a linear head that reads the last token.

It must not know pairs, losses or what a score is used for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel

from ratchet_adapters.precision import products
from ratchet_adapters.training.recipe import Recipe
from ratchet_adapters.training.trainers.generation import rendered
from ratchet_adapters.training.trainers.model import check_memory, unconverted, with_lora

__all__ = ["build", "encode", "precision_of", "restore", "score"]


class _Head(torch.nn.Linear):
    """One score per position, in float32 whatever the body computes in: three digits are too few for margins."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float())


def build(folder: Path, recipe: Recipe, precision: Literal["bf16", "fp32"], pad: int) -> Any:
    """Return a new network on a base model: body frozen, LoRA and head to be trained.

    Raises:
        NotEnoughMemory: It would not fit.
    """
    body = _body(folder, precision, pad)
    check_memory(folder, body.config.get_text_config(), recipe, precision)
    return with_lora(body, int(body.config.get_text_config().num_hidden_layers), recipe, "SEQ_CLS")


def restore(folder: Path, base: Path, precision: Literal["bf16", "fp32"], pad: int) -> Any:
    """Return the trained network of a reward model folder, for scoring."""
    network = unconverted(PeftModel.from_pretrained(_body(base, precision, pad), str(folder)))
    network.eval()
    return network


def encode(tokenizer: Any, prompt: str, answer: str, *, prompt_tokens: int, answer_tokens: int) -> list[int] | None:
    """Return prompt and answer as token ids, or None when the rendered prompt is too long.

    No end mark: most tokenizers fill with it, and the head reads the last token that is not filling.
    """
    before: list[int] = tokenizer(rendered(tokenizer, prompt), add_special_tokens=False)["input_ids"]
    after: list[int] = tokenizer(answer.strip(), add_special_tokens=False)["input_ids"]
    return before + after[:answer_tokens] if len(before) <= prompt_tokens and after else None


def score(network: Any, sequences: Sequence[Sequence[int]], pad: int, *, batch_size: int = 16) -> list[float]:
    """Return one score per token sequence, in order: any real number, larger is better."""
    order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
    found = [0.0] * len(sequences)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        longest = max(len(sequences[number]) for number in chosen)
        rows = [[*sequences[number], *[pad] * (longest - len(sequences[number]))] for number in chosen]
        mask = [[1] * len(sequences[number]) + [0] * (longest - len(sequences[number])) for number in chosen]
        device = network.device
        with torch.no_grad(), precision_of(network):
            values = network(
                input_ids=torch.tensor(rows, device=device),
                attention_mask=torch.tensor(mask, device=device),
                use_cache=False,
            ).logits[:, 0]
        for number, value in zip(chosen, values.tolist(), strict=True):
            found[number] = value
    return found


def precision_of(network: Any) -> AbstractContextManager[Any]:
    """Return the context for calls of the network: products in bfloat16 when its body is, for the float32 LoRA."""
    weight = network.get_input_embeddings().weight
    return products(weight.device.type, in_bfloat16=weight.dtype == torch.bfloat16)


def _body(folder: Path, precision: Literal["bf16", "fp32"], pad: int) -> Any:
    from transformers import AutoModelForSequenceClassification
    from transformers.utils import logging

    level = logging.get_verbosity()
    # That the head is new and the language head is left out is what is wanted here, not a warning.
    logging.set_verbosity_error()
    try:
        body = AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            num_labels=1,
            dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
            local_files_only=True,
            attn_implementation="eager",
        )
    finally:
        logging.set_verbosity(level)
    body.config.get_text_config().pad_token_id = pad
    width = int(body.config.get_text_config().hidden_size)
    body.score = _Head(width, 1, bias=False)
    torch.nn.init.zeros_(body.score.weight)
    return body
