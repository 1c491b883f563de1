"""`frozen-classifier`: what a fixed classifier reads of the group from the model's hidden states is to fade.

The classifier is linear and fitted once, on the base model's states of the train pairs: for each kind of group the
normalised difference of the two means (a one-direction linear discriminant; compare the concept directions of
Ravfogel et al. 2020, arXiv 2004.07667). It is frozen then, and the squared difference of its two readings is the loss,
scaled to 1 for the base model. It must not know where pairs come from.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from ratchet_adapters.training.loss_term import TermLoss, TermModel, TermStep
from ratchet_adapters.training.loss_terms.pairs import PairStates, drawn, pair_states, rows_of

__all__ = ["FrozenClassifier", "FrozenClassifierOptions"]

NAME = "frozen-classifier"
_BATCH = 32


class FrozenClassifierOptions(BaseModel):
    """Options of the term."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(16, ge=1, description="Pairs per step.")
    fitted_on: int = Field(256, ge=2, description="Train pairs that the classifier is fitted on, the first ones.")


class FrozenClassifier:
    """Mean squared difference of the classifier's readings of both texts; 1 for the base model. That is the level too.

    Takes the options of `FrozenClassifierOptions`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = FrozenClassifierOptions.model_validate(options)
        self._directions: dict[str, torch.Tensor] = {}

    def __call__(self, model: TermModel, step: TermStep) -> TermLoss:
        """Return the term's value at a step.

        Raises:
            TermRowsMissing: The dataset has no pairs.
        """
        if not self._directions:
            self._directions = self._fitted(model)
        rows = drawn(model, step, self._options.pairs, NAME)
        apart = _difference(pair_states(model, rows))
        usable = [place for place, row in enumerate(rows) if row.category in self._directions]
        directions = torch.stack([self._directions[rows[place].category] for place in usable])
        readings = (apart[usable] * directions).sum(-1)
        loss = readings.square().mean()
        return TermLoss(loss, float(loss.detach()))

    def _fitted(self, model: TermModel) -> dict[str, torch.Tensor]:
        rows = rows_of(model, NAME)[: self._options.fitted_on]
        with model.reference():
            parts = [
                _difference(pair_states(model, rows[start : start + _BATCH])) for start in range(0, len(rows), _BATCH)
            ]
        apart = torch.cat(parts)
        found = {}
        for kind in sorted({row.category for row in rows}):
            own = apart[[place for place, row in enumerate(rows) if row.category == kind]]
            direction = own.mean(0)
            scale = (own @ direction).square().mean().sqrt()
            # Groups whose pairs point nowhere in common leave nothing to read.
            if float(scale) > 0:
                found[kind] = direction / scale
        return found


def _difference(seen: PairStates) -> torch.Tensor:
    """Mean hidden state over the shared ending, first text minus second: (pairs, width), float32."""
    first, second, owner = seen.endings()
    states = seen.states.float()
    apart = states[first] - states[second]
    sums = torch.zeros(len(seen.rows), apart.shape[1], device=apart.device).index_add(0, owner, apart)
    return sums / torch.bincount(owner)[:, None]
