"""What TRL's preference trainers get from here alike: log-probabilities of answers, counts beside the loss, precision.

It must not know any loss, nor datasets. Off CUDA, TRL scores every position against the whole vocabulary and masks
afterwards; with short answers behind long prompts that is much of a step. Here only the answers' tokens reach the
output layer, and what rows have in common is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as functional

from ratchet_adapters.precision import products
from ratchet_adapters.training.trainers.anchoring import Anchors
from ratchet_adapters.training.trainers.prefix_tree import prefix_tree

__all__ = ["AnswerScoring", "reference_log_probs", "token_log_probs"]


def token_log_probs(causal: Any, ids: torch.Tensor, attention: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of each answer token, 0 elsewhere: (rows, length - 1), in nats, float32.

    Args:
        causal: A transformers causal model, with an adapter inside or not.
        ids, attention, answer: Token ids, and masks of the tokens there are and of those of the answer:
            (rows, length), padded on the right.
    """
    tree = prefix_tree(ids, attention)
    head = causal.get_output_embeddings()
    hidden = causal.base_model(
        input_ids=tree.input_ids,
        position_ids=tree.position_ids,
        attention_mask=torch.zeros_like(tree.visible, dtype=head.weight.dtype).masked_fill(
            ~tree.visible, torch.finfo(head.weight.dtype).min
        ),
        use_cache=False,
    ).last_hidden_state
    taught = answer[:, 1:].bool()
    logits = head(hidden.flatten(0, 1)[tree.places[:, :-1][taught]]).float()
    nats = functional.cross_entropy(logits, ids[:, 1:][taught], reduction="none")
    return torch.zeros(taught.shape, device=nats.device).masked_scatter(taught, -nats)


def reference_log_probs(
    model: Any, batches: Sequence[Mapping[str, torch.Tensor]], autocast: bool, prefix: str = ""
) -> list[list[float]]:
    """Return for each batch the log-probability of each row's answer under the base model, in nats.

    Args:
        model: The PEFT model; its adapter is switched off meanwhile.
        batches: With `input_ids`, `attention_mask` and `completion_mask`, the names preceded by `prefix`.
        autocast: Compute in bfloat16.
        prefix: See above.
    """
    found = []
    with torch.no_grad(), model.disable_adapter(), products(model.device.type, in_bfloat16=autocast):
        for batch in batches:
            names = (f"{prefix}input_ids", f"{prefix}attention_mask", f"{prefix}completion_mask")
            tensors = (batch[name].to(model.device) for name in names)
            found.append(token_log_probs(model.get_base_model(), *tensors).sum(-1).tolist())
    return found


class AnswerScoring:
    """Mixed into one of TRL's trainers, in front of it.

    Args:
        autocast: Compute in bfloat16; the trainer's own autocast covers `model.forward` only.
        counts: Shown with the first step.
        anchors: Texts on which the adapter is held to the base model.
    """

    def __init__(
        self, *args: Any, autocast: bool, counts: Mapping[str, float], anchors: Anchors, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._autocast = autocast
        self._counts = counts
        self._anchors = anchors
        self._drifts: list[float] = []
        model: Any = self.model  # type: ignore[attr-defined]
        # TRL copies a new adapter as the reference; the base with the adapter off is the same, and needs no copy.
        if "ref" in model.peft_config:
            model.delete_adapter("ref")

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **rest: Any) -> Any:
        """Return the method's loss of one batch; in training with the anchor's."""
        found = super().compute_loss(model, inputs, return_outputs, **rest)  # type: ignore[misc]
        this: Any = self
        if not self._anchors.texts or not model.training:
            return found
        drift = self._anchors.drift(this.accelerator.unwrap_model(model), this.state.global_step)
        self._drifts.append(float(drift.detach()))
        loss, *outputs = found if return_outputs else (found,)
        loss = loss + self._anchors.weight * drift
        return (loss, *outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the counts to the first step's log, and to every step's how far the adapter is from the base model."""
        first = "loss" in logs and self.state.global_step == 1  # type: ignore[attr-defined]
        shown = {**logs, **self._counts} if first else dict(logs)
        if "loss" in logs and self._drifts:
            shown["drift"] = fmean(self._drifts)
            self._drifts.clear()
        super().log(shown, start_time)  # type: ignore[misc]

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints need no card; the adapter gets its own."""

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        """The rows are in tokens already: cut answers must not get the end mark that TRL would add."""
        return dataset

    def _precision_of_products(self) -> AbstractContextManager[Any]:
        return products(self.model.device.type, in_bfloat16=self._autocast)  # type: ignore[attr-defined]
