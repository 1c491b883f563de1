"""`rerouting`: turns hidden states of harmful answers away from the base model's, and keeps all others where they were.

α(1 − t/2T) · ReLU(cos(h0, h)) on harmful answers + (αt/2T) · ‖h0 − h‖ on the others, h0 with the adapter off (Zou et
al. 2024, "Improving Alignment and Robustness with Circuit Breakers", arXiv 2406.04313, section 3 and algorithm 1). It
must not know where the texts come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.errors import TermRowsMissing
from ratchet_adapters.training.loss_term import TermLoss, TermModel, TermStep
from ratchet_adapters.training.loss_terms.completions import Completions, laid_out
from ratchet_adapters.training.rerouting import NAME, ReroutingOptions
from ratchet_adapters.training.trainers.generation import rendered

__all__ = ["Rerouting", "coefficients", "completion_layers", "cosines", "distances"]

_RETAINED = (RowKind.CONTRAST, RowKind.REPLAY, RowKind.ANCHOR, RowKind.REFUSAL)
"""Refusals too: the paper's models lost theirs when the retain set had none."""


@dataclass(frozen=True)
class _Text:
    prompt: list[int]
    tokens: list[int]


class Rerouting:
    """The term. Its level is the mean cosine on harmful answers. Takes the options of `ReroutingOptions`."""

    def __init__(self, **options: Any) -> None:
        self._options = ReroutingOptions.model_validate(options)
        self._harmful: list[_Text] = []
        self._retained: list[list[_Text]] = []

    def __call__(self, model: TermModel, step: TermStep) -> TermLoss:
        """Return the term's value at a step.

        Raises:
            TermRowsMissing: No refusal row holds the answer it refuses, or there is nothing to retain.
        """
        self._encode(model)
        wanted = self._options.texts
        harmful = step.chance.sample(self._harmful, min(wanted, len(self._harmful)))
        # Kind by kind, so that each is retained however few rows it has.
        kinds = [self._retained[(step.number * wanted + place) % len(self._retained)] for place in range(wanted)]
        texts = [*harmful, *(step.chance.choice(kind) for kind in kinds)]
        batch = laid_out(
            [text.prompt for text in texts], [text.tokens for text in texts], pad=model.pad, device=model.model.device
        )
        with model.reference():
            base = completion_layers(model, batch)
        states = completion_layers(model, batch)
        bad = batch.row < len(harmful)
        targets = [max(1, round(depth * (len(base) - 1))) for depth in self._options.layers]
        cosine = cosines(base[targets][:, bad], states[targets][:, bad])
        distance = distances(base[1:, ~bad], states[1:, ~bad], relative=self._options.distance == "relative").mean()
        reroute, retain = coefficients(self._options.alpha, step.number, step.total)
        return TermLoss(
            reroute * cosine.relu().mean() + retain * self._options.retain_factor * distance,
            level=float(cosine.detach().mean()),
            metrics={
                "cosine": float(cosine.detach().mean()),
                "distance": float(distance.detach()),
                "reroute": reroute,
                "retain": retain,
            },
        )

    def _encode(self, model: TermModel) -> None:
        if self._harmful:
            return
        refusals = [row for row in model.rows(RowKind.REFUSAL) if row.rejected.strip()]
        harmful = self._texts(model, refusals, [row.rejected for row in refusals])
        if not harmful:
            raise TermRowsMissing(NAME, "refusal rows that hold the harmful answer they refuse")
        for kind in _RETAINED:
            rows = [row for row in model.rows(kind) if row.target.strip()]
            if found := self._texts(model, rows, [row.target for row in rows]):
                self._retained.append(found)
        if not self._retained:
            raise TermRowsMissing(NAME, "contrast, replay or anchor rows to retain")
        self._harmful = harmful

    def _texts(self, model: TermModel, rows: Sequence[Row], answers: Sequence[str]) -> list[_Text]:
        found = []
        for row, answer in zip(rows, answers, strict=True):
            tokens: list[int] = model.tokenizer(answer.strip(), add_special_tokens=False)["input_ids"]
            tokens = tokens[: self._options.completion_tokens]
            if row.kind is RowKind.ANCHOR:
                prompt, tokens = tokens[:1], tokens[1:]
            else:
                prompt = model.tokenizer(rendered(model.tokenizer, row.prompt), add_special_tokens=False)["input_ids"]
            if tokens and len(prompt) <= self._options.prompt_tokens:
                found.append(_Text(prompt, tokens))
        return found


def coefficients(alpha: float, number: int, total: int) -> tuple[float, float]:
    """Return the weights of rerouting and of retaining at a step, 1 to total: from (α, 0) to (α/2, α/2)."""
    share = (number - 1) / (2 * max(1, total - 1))
    return alpha * (1 - share), alpha * share


def completion_layers(model: TermModel, batch: Completions) -> torch.Tensor:
    """Return hidden states at completion tokens after the embeddings and each layer: (layers + 1, tokens, width)."""
    causal = model.model.get_base_model()
    with model.precision():
        output = causal.base_model(
            input_ids=batch.input_ids, attention_mask=batch.mask, output_hidden_states=True, use_cache=False
        )
    # A source is where a completion token is predicted; the token itself stands one further.
    return torch.stack([layer.flatten(0, 1)[batch.sources + 1] for layer in output.hidden_states]).float()


def cosines(base: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Return cos(h0, h) over the last dimension."""
    return functional.cosine_similarity(base, states, dim=-1)


def distances(base: torch.Tensor, states: torch.Tensor, *, relative: bool) -> torch.Tensor:
    """Return ‖h0 − h‖ over the last dimension, or its share of ‖h0‖."""
    # The gradient of a norm is not defined at zero, where training begins.
    found = ((states - base).pow(2).sum(-1) + 1e-12).sqrt()
    return found / base.norm(dim=-1).clamp_min(1e-6) if relative else found
