"""Completions behind their prompts, as tensors: hidden states where each token is predicted, and losses over logits.

It must not know what the completions are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ratchet_adapters.training.loss_term import TermModel

__all__ = ["Completions", "completion_states", "laid_out", "loss_over_logits"]

_POSITIONS = 256
"""Positions whose logits are held at once; with a vocabulary of 49k they take 50 MB."""


@dataclass(frozen=True)
class Completions:
    """Prompts and completions, one of each per row, filled up on the right.

    Attributes:
        input_ids: (rows, length), int64.
        mask: (rows, length), int64: 1 where there is a token.
        sources: (n,), int64: flat positions whose next token is of a completion.
        targets: (n,), int64: those tokens.
        row: (n,), int64: the row of each.
    """

    input_ids: torch.Tensor
    mask: torch.Tensor
    sources: torch.Tensor
    targets: torch.Tensor
    row: torch.Tensor


def laid_out(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, pad: int, device: torch.device
) -> Completions:
    """Return token ids of prompts (at least one token each) and completions as tensors."""
    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    length = max(map(len, rows))
    sources = [
        number * length + len(prompt) - 1 + place
        for number, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        for place in range(len(completion))
    ]
    return Completions(
        input_ids=torch.tensor([row + [pad] * (length - len(row)) for row in rows], device=device),
        mask=torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device),
        sources=torch.tensor(sources, dtype=torch.int64, device=device),
        targets=torch.tensor([token for completion in completions for token in completion], device=device),
        row=torch.tensor([number for number, own in enumerate(completions) for _ in own], device=device),
    )


def completion_states(model: TermModel, batch: Completions) -> torch.Tensor:
    """Return the last hidden states at `batch.sources`: (n, width)."""
    causal = model.model.get_base_model()
    with model.precision():
        output = causal.base_model(input_ids=batch.input_ids, attention_mask=batch.mask, use_cache=False)
    states: torch.Tensor = output.last_hidden_state.flatten(0, 1)[batch.sources]
    return states


def loss_over_logits(
    model: TermModel, states: torch.Tensor, loss: Callable[[torch.Tensor, slice], torch.Tensor]
) -> torch.Tensor:
    """Return the sum of `loss(logits, part)` over parts of the positions, with its gradient on the states.

    The logits of one part are gone before those of the next are made: each part's gradient is taken at once and handed
    on as a constant, which for a sum is exact. All logits together would need more memory than the model.

    Args:
        model: In training.
        states: (n, width), with gradient.
        loss: Takes float32 logits of shape (positions, vocabulary) and the part of the n positions they stand for.
    """
    head = model.model.get_base_model().get_output_embeddings()
    total = torch.zeros((), device=states.device)
    gradient = torch.zeros_like(states, dtype=torch.float32)
    for start in range(0, len(states), _POSITIONS):
        part = slice(start, start + _POSITIONS)
        own = states[part].detach().requires_grad_()
        with torch.enable_grad():
            with model.precision():
                logits = head(own)
            value = loss(logits.float(), part)
        (gradient[part],) = torch.autograd.grad(value, own)
        total += value.detach()
    carried = (states.float() * gradient).sum()
    return total + carried - carried.detach()
