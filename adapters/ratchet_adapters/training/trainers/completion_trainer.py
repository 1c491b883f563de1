"""TRL's SFTTrainer with packed batches and a loss that costs a CPU less.

It must not know datasets, files or processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as functional
from trl import SFTTrainer

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.precision import products
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.trainers.encoding import Encoded, Lessons
from ratchet_adapters.training.trainers.packing import Packed, pack
from ratchet_adapters.training.trainers.terms import ModelInTraining, Terms
from ratchet_adapters.training.trainers.workers import mean

__all__ = ["BatchCollator", "CompletionTrainer"]


class BatchCollator:
    """Makes one scheduled batch (row numbers, anchor number) into tensors."""

    def __init__(self, lessons: Lessons, settings: SftSettings, pad: int) -> None:
        self._lessons = lessons
        self._settings = settings
        self._pad = pad

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the share of the only example: the loader reads one at a time.

        Beside its tensors: the weight of the whole batch, by which its loss is divided, and the number of its shares.
        """
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
        whole = sum(self._weight(pool[number]) for number in example["whole"])
        return {"packed": packed, "whole": whole, "shares": example["of"]}

    def _weight(self, row: Encoded) -> float:
        head = min(len(row.completion), self._settings.head_tokens)
        return head + self._settings.tail_weight * (len(row.completion) - head)


class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
    """Weighted cross-entropy on completion tokens, plus KL to the base model on an anchor text, plus loss terms.

    Off CUDA, TRL scores every position against the whole vocabulary and masks afterwards (`add_fused_lm_head`,
    `compact`); with a 49k vocabulary and short completions that is most of a step. Here only taught positions reach
    the output layer.
    """

    def __init__(
        self,
        *args: Any,
        settings: SftSettings,
        autocast: bool,
        terms: Terms,
        rows_by_kind: Mapping[RowKind, Sequence[Row]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._recipe = settings
        self._autocast = autocast
        self._terms = terms
        self._rows_by_kind = rows_by_kind
        self._shown: dict[str, list[float]] = {}

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
        # The mean over the workers of what they return is the loss of the whole batch.
        loss = self._recipe.completion_weight * (nats * batch.weights).sum() / inputs["whole"] * inputs["shares"]
        if batch.anchor_ids.numel():
            drift = self._drift(inner, batch, logits[taught:])
            loss = loss + self._recipe.anchor_weight * drift * inputs["shares"]
            self._show({"kl": float(drift.detach())})
        if self._terms and model.training:
            # The terms are taken once per optimiser step, with its last part, and weigh as much as all parts together.
            if not self.accelerator.gradient_state.sync_gradients and self._recipe.accumulate > 1:
                return (loss, {"loss": loss.detach()}) if return_outputs else loss
            added, shown = self._terms.loss(self._in_training(inner), self.state.global_step + 1, self.state.max_steps)
            loss = loss + added * self._recipe.accumulate
            self._show({"completion": mean(float(loss.detach() - added.detach())), **shown})
        return (loss, {"loss": loss.detach()}) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of what the parts of the loss showed since the last log."""
        means = {name: sum(values) / len(values) for name, values in self._shown.items() if values}
        self._shown.clear()
        super().log({**logs, **means} if "loss" in logs else logs, start_time)

    def _show(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._shown.setdefault(name, []).append(value)

    def _in_training(self, inner: Any) -> ModelInTraining:
        return ModelInTraining(
            inner,
            self.processing_class,
            self.processing_class.pad_token_id,
            self._rows_by_kind,
            lambda: self._precision(inner.device),
        )

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
        return products(device.type, in_bfloat16=self._autocast)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card; the adapter gets its own."""


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
