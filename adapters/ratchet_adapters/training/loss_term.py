"""The port for a term added to the loss: differentiable, computed once per optimiser step.

A package adds one with an entry point of the group `ratchet.loss_terms`: a callable that takes the term's options as
keywords and returns a `LossTerm`. It must not import torch: settings name terms long before anything is trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ratchet_adapters.training.errors import LossTermOptionsInvalid, LossTermUnknown
from ratchet_adapters.training.plugins import plugin
from ratchet_adapters.training.weight import Fixed, Weight

if TYPE_CHECKING:
    import torch

    from ratchet_adapters.datasets.dataset import Row, RowKind

__all__ = ["LossTerm", "TermChoice", "TermLoss", "TermModel", "TermStep", "loss_term"]

_BUILT_IN: Mapping[str, str] = {
    "penalised-sampling": "ratchet_adapters.training.loss_terms.penalised_sampling:PenalisedSampling",
    "unlikelihood": "ratchet_adapters.training.loss_terms.unlikelihood:Unlikelihood",
    "counterfactual": "ratchet_adapters.training.loss_terms.counterfactual:Counterfactual",
    "frozen-classifier": "ratchet_adapters.training.loss_terms.frozen_classifier:FrozenClassifier",
    "rerouting": "ratchet_adapters.training.loss_terms.rerouting:Rerouting",
}
"""Name to "module:callable"."""


class TermChoice(BaseModel):
    """A term in a recipe: how much it weighs, and its own options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: Weight = Fixed()
    options: Mapping[str, Any] = Field(default_factory=dict, description="Keywords for the term.")


class TermModel(Protocol):
    """The model in training, as a term may use it.

    Attributes:
        model: The PEFT model; its base parameters are frozen.
        tokenizer: With the chat template.
        pad: Token id for filling.
    """

    model: Any
    tokenizer: Any
    pad: int

    def rows(self, kind: RowKind) -> Sequence[Row]:
        """Train rows of one kind, in a fixed order."""
        ...

    def reference(self) -> AbstractContextManager[Any]:
        """Inside, the adapter is off: the base model, for free. Gradients are off too."""
        ...

    def precision(self) -> AbstractContextManager[Any]:
        """Inside, matrix products have the training's precision. Wrap every call of the model in it."""
        ...


@dataclass(frozen=True)
class TermStep:
    """The step a term is computed for.

    Attributes:
        number: 1 to total.
        total: Optimiser steps of the training.
        chance: Random numbers of this step and term alone, so that a resumed training draws the same.
        torch_seed: For a `torch.Generator`, likewise.
    """

    number: int
    total: int
    chance: Random
    torch_seed: int


@dataclass(frozen=True)
class TermLoss:
    """A term's value at one step.

    Attributes:
        loss: Scalar with gradient, in the term's own unit, before its weight.
        level: What a Lagrange weight holds under its ceiling, e.g. mean toxicity; not finite when there is none.
        metrics: More to show, by name.
    """

    loss: torch.Tensor
    level: float = float("nan")
    metrics: Mapping[str, float] = field(default_factory=dict)


class LossTerm(Protocol):
    """Something the loss is to contain besides cross-entropy."""

    def __call__(self, model: TermModel, step: TermStep) -> TermLoss:
        """Return the term's value at a step; the same step must give the same value."""
        ...


def loss_term(name: str, options: Mapping[str, Any]) -> LossTerm:
    """Return the term of this name.

    Raises:
        LossTermUnknown: Neither built in nor installed.
        LossTermOptionsInvalid: It does not take these options.
    """
    found: LossTerm = plugin(name, options, built_in=_BUILT_IN, unknown=LossTermUnknown, invalid=LossTermOptionsInvalid)
    return found
