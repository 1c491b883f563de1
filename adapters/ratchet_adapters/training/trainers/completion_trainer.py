"""TRL's SFTTrainer with packed batches and a loss that costs a CPU less.

It must not know datasets, files or processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as functional
from transformers import TrainerCallback
from trl import SFTTrainer

from ratchet_adapters.training.errors import TrainingDiverged
from ratchet_adapters.training.settings import SftSettings
from ratchet_adapters.training.trainers.encoding import Encoded, Lessons
from ratchet_adapters.training.trainers.packing import Packed, pack

__all__ = ["BatchCollator", "CompletionTrainer", "StepReport"]


class BatchCollator:
    """Makes one scheduled batch (row numbers, anchor number) into tensors."""

    def __init__(self, lessons: Lessons, settings: SftSettings, pad: int) -> None:
        self._lessons = lessons
        self._settings = settings
        self._pad = pad

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Packed]:
        """Return the batch of the only example: the loader reads one scheduled batch at a time."""
        (example,) = examples
        pool: tuple[Encoded, ...] = self._lessons.validation if example["held_out"] else self._lessons.rows
        anchor = self._lessons.anchors[example["anchor"]] if example["anchor"] >= 0 else ()
        packed = pack(
            [pool[number] for number in example["rows"]],
            self._lessons.prefix,
            per_sequence=self._settings.rows_per_sequence,
            pad=self._pad,
            head_tokens=self._settings.head_tokens,
            tail_weight=self._settings.tail_weight,
            anchor=anchor,
        )
        return {"packed": packed}


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """Weighted cross-entropy on completion tokens, plus KL to the base model on an anchor text.

    Off CUDA, TRL scores every position against the whole vocabulary and masks afterwards (`add_fused_lm_head`,
    `compact`); with a 49k vocabulary and short completions that is most of a step. Here only taught positions reach
    the output layer.
    """

    def __init__(self, *args: Any, settings: SftSettings, autocast: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recipe = settings
        self._autocast = autocast

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of one packed batch; see the class."""
        batch = _moved(inputs["packed"], model.device)
        inner = self.accelerator.unwrap_model(model)
        taught = len(batch.targets)
        with self._precision(model.device):
            hidden = _hidden(inner, batch.input_ids, batch.position_ids, batch.mask)
            logits = _logits(inner, hidden, torch.cat([batch.sources, batch.anchor_sources]))
        nats = functional.cross_entropy(logits[:taught], batch.targets, reduction="none")
        loss = (nats * batch.weights).sum() / batch.weights.sum()
        if batch.anchor_ids.numel():
            loss = loss + self._recipe.anchor_weight * self._drift(inner, batch, logits[taught:])
        return (loss, {"loss": loss.detach()}) if return_outputs else loss

    def _drift(self, inner: Any, batch: Packed, logits: torch.Tensor) -> torch.Tensor:
        """KL(base || adapter) per anchor token, in nats."""
        count = batch.anchor_ids.shape[1]
        positions = torch.arange(count, device=inner.device)
        alone = torch.ones(1, 1, count, count, dtype=torch.bool, device=inner.device).tril()
        with torch.no_grad(), inner.disable_adapter(), self._precision(inner.device):
            hidden = _hidden(inner, batch.anchor_ids, positions[None], alone)
            base = _logits(inner, hidden, positions)
        return functional.kl_div(logits.log_softmax(-1), base.log_softmax(-1), log_target=True, reduction="batchmean")

    def _precision(self, device: torch.device) -> AbstractContextManager[Any]:
        # The adapter's own weights are float32, for small updates; products are bfloat16.
        return torch.autocast(device.type, torch.bfloat16) if self._autocast else nullcontext()

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card; the adapter gets its own."""


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


def _hidden(inner: Any, ids: torch.Tensor, positions: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Return last hidden states, flat: (sequences * length, width)."""
    causal = inner.get_base_model()
    dtype = causal.get_output_embeddings().weight.dtype
    mask = torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    hidden = causal.base_model(
        input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
    ).last_hidden_state
    return hidden.flatten(0, 1)  # type: ignore[no-any-return]


def _logits(inner: Any, hidden: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Return float32 logits of shape (positions, vocabulary)."""
    return inner.get_base_model().get_output_embeddings()(hidden[at]).float()  # type: ignore[no-any-return]


def _moved(batch: Packed, device: torch.device) -> Packed:
    if device.type == "cpu":
        return batch
    return Packed(
        batch.input_ids.to(device),
        batch.position_ids.to(device),
        batch.mask.to(device),
        batch.sources.to(device),
        batch.targets.to(device),
        batch.weights.to(device),
        batch.anchor_ids.to(device),
        batch.anchor_sources.to(device),
    )
