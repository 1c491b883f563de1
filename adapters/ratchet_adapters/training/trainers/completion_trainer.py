"""TRL's SFTTrainer with a loss that costs a CPU less.

It must not know rows, files or processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as functional
from transformers import TrainerCallback
from trl import SFTTrainer

from ratchet_adapters.training.errors import TrainingDiverged

__all__ = ["Collator", "CompletionTrainer", "StepReport", "padded"]

IGNORED = -100


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """Cross-entropy on completion tokens only, plus an optional KL to the base model.

    Off CUDA, TRL scores every position against the whole vocabulary and masks afterwards (`add_fused_lm_head`,
    `compact`); with a 49k vocabulary and short completions that is most of the step. Here only completion positions
    reach the output layer.
    """

    def __init__(self, *args: Any, kl_weight: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kl_weight = kl_weight

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean loss per completion token; see the class."""
        labels = inputs["labels"][:, 1:]
        taught = labels != IGNORED
        inner = self.accelerator.unwrap_model(model)
        logits = _logits(inner, inputs, taught)
        loss = functional.cross_entropy(logits, labels[taught])
        anchored = inputs["anchored"][:, None].expand_as(taught)[taught]
        if self._kl_weight > 0 and bool(anchored.any()):
            with torch.no_grad(), inner.disable_adapter():
                base = _logits(inner, inputs, taught)[anchored].log_softmax(-1)
            mine = logits[anchored].log_softmax(-1)
            loss = loss + self._kl_weight * (base.exp() * (base - mine)).sum(-1).mean()
        return (loss, {"loss": loss.detach()}) if return_outputs else loss

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card; the adapter gets its own."""


class Collator:
    """Pads a batch on the right and keeps the mark that says which rows are anchored."""

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return input_ids, labels, attention_mask of shape (rows, longest) and anchored of shape (rows,)."""
        return {
            "input_ids": padded([example["input_ids"] for example in examples], self._pad),
            "labels": padded([example["labels"] for example in examples], IGNORED),
            "attention_mask": padded([[1] * len(example["input_ids"]) for example in examples], 0),
            "anchored": torch.tensor([bool(example["anchored"]) for example in examples]),
        }


class StepReport(TrainerCallback):  # type: ignore[misc]
    """Reports each step's loss, stops on one that is not finite, and marks finished checkpoints."""

    def __init__(self, on_step: Callable[[int, int, float], None], on_saved: Callable[[int], None]) -> None:
        self._on_step = on_step
        self._on_saved = on_saved

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Take the loss of a step from the trainer's log."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if loss != loss or loss in (float("inf"), float("-inf")):
            raise TrainingDiverged(int(state.global_step))
        self._on_step(int(state.global_step), int(state.max_steps), loss)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The checkpoint of this step is on disk."""
        self._on_saved(int(state.global_step))


def padded(rows: list[list[int]], value: int) -> torch.Tensor:
    """Return the rows as one tensor of shape (rows, longest), padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def _logits(model: Any, inputs: dict[str, Any], taught: torch.Tensor) -> torch.Tensor:
    """Return float32 logits of shape (taught positions, vocabulary)."""
    causal = model.get_base_model()
    # No attention mask: rows are padded on the right and attention is causal, so no real token sees the padding,
    # and the padding's own outputs are never scored.
    hidden = causal.base_model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    return causal.get_output_embeddings()(hidden[taught]).float()  # type: ignore[no-any-return]
