"""The loss terms of a training: called at every step, weighted, reported, their weights kept over a checkpoint.

It must not know what any term computes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.loss_term import LossTerm, TermChoice, TermStep, loss_term
from ratchet_adapters.training.weight import WeightState

__all__ = ["ModelInTraining", "Terms"]


@dataclass
class ModelInTraining:
    """What a term may use; see `TermModel`."""

    model: Any
    tokenizer: Any
    pad: int
    rows_by_kind: Mapping[RowKind, Sequence[Row]]
    autocast: Callable[[], AbstractContextManager[Any]]

    def rows(self, kind: RowKind) -> Sequence[Row]:
        """Train rows of one kind, in a fixed order."""
        return self.rows_by_kind.get(kind, ())

    @contextmanager
    def reference(self) -> Iterator[None]:
        """The base model: the adapter switched off, gradients too."""
        with torch.no_grad(), self.model.disable_adapter():
            yield

    def precision(self) -> AbstractContextManager[Any]:
        """Matrix products in the training's precision."""
        return self.autocast()


class Terms(TrainerCallback, ExportableState):  # type: ignore[misc]
    """All terms of one training. As a callback it carries the weights over a checkpoint."""

    def __init__(self, choices: Mapping[str, TermChoice], seed: int) -> None:
        self._choices = dict(choices)
        self._seed = seed
        self._terms: dict[str, LossTerm] = {
            name: loss_term(name, choice.options) for name, choice in self._choices.items()
        }
        self._weights = {name: WeightState(choice.weight) for name, choice in self._choices.items()}

    def __bool__(self) -> bool:
        return bool(self._terms)

    def loss(self, model: ModelInTraining, number: int, total: int) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the weighted sum of the terms at a step (1 to total), and what to show of them."""
        sums: list[torch.Tensor] = []
        shown: dict[str, float] = {}
        for name, term in self._terms.items():
            chance = Random(f"{self._seed}:{number}:{name}")
            found = term(model, TermStep(number, total, chance, chance.getrandbits(31)))
            weight = self._weights[name].at(number, total)
            sums.append(weight * found.loss)
            self._weights[name].saw(found.level)
            shown |= {f"{name}.{key}": value for key, value in found.metrics.items()}
            shown |= {f"{name}.loss": float(found.loss.detach()), f"{name}.weight": weight}
            if found.level == found.level:
                shown[f"{name}.level"] = found.level
        return torch.stack(sums).sum(), shown

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "args": {"choices": {}, "seed": self._seed},
            "attributes": {"kept_weights": {name: weight.value for name, weight in self._weights.items()}},
        }

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take over the weights of the checkpoint that training continues from."""
        kept = state.stateful_callbacks.get(type(self).__name__)
        attributes = kept.get("attributes", {}) if isinstance(kept, dict) else {}
        for name, value in attributes.get("kept_weights", {}).items():
            self._weights[name].restore(value)
