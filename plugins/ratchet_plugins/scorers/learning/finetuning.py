"""Fine-tuning of the MiniLM encoder with a LoRA and a small head, on a CPU in minutes.

It must not know what is learned: it gets texts, targets, and a function from encoder output to logits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratchet_plugins.models.encoder import load_tokenizer
from ratchet_plugins.models.lowrank import DOWN, UP

if TYPE_CHECKING:
    import torch

__all__ = ["Examples", "Plan", "add_low_rank", "fine_tune", "low_rank_tensors", "padded_batches"]

_TARGETS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")


@dataclass(frozen=True)
class Examples:
    """Texts with targets [n, k] in [0, 1]; NaN marks a label that is not known. `weights` [n] scales the loss."""

    texts: Sequence[str]
    targets: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Plan:
    """Hyper-parameters of one run."""

    epochs: int = 2
    batch: int = 32
    rate: float = 5e-4
    head_rate: float = 1e-3
    warmup: int = 40
    max_tokens: int = 128
    seed: int = 0
    positive: tuple[float, ...] | None = None
    """Weight of positives per label; None for 1. Calibrate afterwards: it moves the scores."""


def add_low_rank(model: torch.nn.Module, rank: int, alpha: float) -> None:
    """Freeze a BERT network and put LoRA factors of the given rank on all linear layers of its blocks."""
    from peft import LoraConfig, inject_adapter_in_model

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.05, target_modules=list(_TARGETS))
    inject_adapter_in_model(config, model)


def low_rank_tensors(model: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the learned factors in the committed form (float16, scale folded in), names relative to `prefix`."""
    import torch

    found: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        parts: Any = module
        if name.startswith(prefix) and hasattr(parts, "lora_A") and "default" in parts.lora_A:
            short = name.removeprefix(prefix)
            down, up = parts.lora_A["default"].weight, parts.lora_B["default"].weight
            found[short + DOWN] = down.detach().to(torch.float16)
            found[short + UP] = (up.detach() * parts.scaling["default"]).to(torch.float16)
    return found


def fine_tune(
    body: torch.nn.Module,
    head: torch.nn.Module,
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    data: Examples,
    plan: Plan,
    log: Callable[[str], None],
) -> None:
    """Minimise masked binary cross-entropy over all trainable parameters, in place.

    Args:
        body: Network with LoRA factors; only parameters that require gradients are changed.
        head: Small network trained at its own rate.
        forward: Token ids and attention mask, both [b, t], to logits [b, k].
        data: Training examples.
        plan: Hyper-parameters.
        log: Called with one line every 50 steps.
    """
    import torch

    torch.manual_seed(plan.seed)
    shuffle = random.Random(plan.seed)
    tokenizer = load_tokenizer(plan.max_tokens)
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(data.texts))]
    head_parameters = list(head.parameters())
    owned = {id(parameter) for parameter in head_parameters}
    body_parameters = [p for p in body.parameters() if p.requires_grad and id(p) not in owned]
    optimizer = torch.optim.AdamW(
        [{"params": body_parameters, "lr": plan.rate}, {"params": head_parameters, "lr": plan.head_rate}],
        weight_decay=0.01,
    )
    batches = [batch for _ in range(plan.epochs) for batch in _batches(ids, plan.batch, shuffle)]
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / plan.warmup, max(0.02, 1 - step / len(batches)))
    )
    positive = None if plan.positive is None else torch.tensor(plan.positive)
    body.train()
    head.train()
    started, running = time.monotonic(), 0.0
    for step, rows in enumerate(batches):
        tokens, mask = _padded([ids[row] for row in rows])
        target, weight = data.targets[rows], data.weights[rows].unsqueeze(1)
        known = ~torch.isnan(target)
        raw = torch.nn.functional.binary_cross_entropy_with_logits(
            forward(tokens, mask), torch.nan_to_num(target), reduction="none", pos_weight=positive
        )
        loss = (raw * known * weight).sum() / (known * weight).sum().clamp(min=1.0)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([*body_parameters, *head_parameters], 1.0)
        optimizer.step()
        scheduler.step()
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if step % 50 == 0 or step == len(batches) - 1:
            log(f"step {step}/{len(batches)} loss {running:.4f} {time.monotonic() - started:.0f} s")
    body.eval()
    head.eval()


def padded_batches(
    texts: Sequence[str], max_tokens: int, size: int = 32
) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Yield (positions in `texts`, token ids [b, t], mask [b, t]) until every text was given once."""
    ids = [encoding.ids for encoding in load_tokenizer(max_tokens).encode_batch(list(texts))]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield rows, *_padded([ids[row] for row in rows])


def _batches(ids: Sequence[Sequence[int]], size: int, shuffle: random.Random) -> list[list[int]]:
    """Return one epoch of batches: texts of similar length together, which halves the padding."""
    order = list(range(len(ids)))
    shuffle.shuffle(order)
    batches: list[list[int]] = []
    for start in range(0, len(order), size * 40):
        block = sorted(order[start : start + size * 40], key=lambda row: len(ids[row]))
        batches += [block[i : i + size] for i in range(0, len(block), size)]
    shuffle.shuffle(batches)
    return batches


def _padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = max(len(row) for row in rows)
    tokens = torch.zeros((len(rows), width), dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for line, row in enumerate(rows):
        tokens[line, : len(row)] = torch.tensor(row)
        mask[line, : len(row)] = 1
    return tokens, mask
