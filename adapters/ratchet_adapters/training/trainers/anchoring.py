"""Holds an adapter to the base model on plain texts while it learns from something else.

It must not know what else is learnt, nor which trainer asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
import torch.nn.functional as functional

from ratchet_adapters.datasets.dataset import RowKind
from ratchet_adapters.precision import products
from ratchet_adapters.training.preference import PreferenceSettings
from ratchet_adapters.training.trainers.session import Session

__all__ = ["Anchors", "session_anchors"]


@dataclass(frozen=True)
class Anchors:
    """Plain texts in tokens, and how much drifting away from the base model on them costs.

    Attributes:
        texts: Token ids of each; none: nothing is held.
        weight: Of the KL in the loss.
        seed: Draws the text of each part of a step, so that a resumed training draws the same.
        in_bfloat16: Whether products are computed so.
    """

    texts: Sequence[Sequence[int]]
    weight: float
    seed: int
    in_bfloat16: bool

    def drift(self, model: Any, step: int) -> torch.Tensor:
        """Return KL(base || adapter) per token of one text, in nats; a scalar.

        Args:
            model: The PEFT model.
            step: The same step draws the same text.
        """
        text = self.texts[Random(f"{self.seed}:anchor:{step}").randrange(len(self.texts))]
        ids = torch.tensor([list(text)], device=model.device)
        with torch.no_grad(), model.disable_adapter():
            base = self._log_probs(model, ids)
        own = self._log_probs(model, ids)
        found: torch.Tensor = functional.kl_div(own, base, log_target=True, reduction="batchmean")
        return found

    def _log_probs(self, model: Any, ids: torch.Tensor) -> torch.Tensor:
        causal = model.get_base_model()
        with products(model.device.type, in_bfloat16=self.in_bfloat16):
            hidden = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state
            logits: torch.Tensor = causal.get_output_embeddings()(hidden[0]).float()
        return logits.log_softmax(-1)


def session_anchors(session: Session, settings: PreferenceSettings) -> Anchors:
    """Return the anchor texts of a session's train rows, cut to the recipe's length; none at weight 0."""
    texts = [
        ids
        for row in session.rows(RowKind.ANCHOR)
        if len(ids := session.tokenizer(row.target, add_special_tokens=False)["input_ids"][: settings.anchor_tokens])
        > 1
    ]
    return Anchors(
        texts if settings.anchor_weight else (), settings.anchor_weight, settings.seed, session.precision == "bf16"
    )
