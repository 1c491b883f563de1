"""`counterfactual`: two texts that differ in a group of people only are to be equally likely, and to go on alike.

gap:        mean over pairs of (log p(a)/|a| - log p(b)/|b|)^2, in squared nats per token
divergence: mean over the tokens both texts end with of the Jensen-Shannon divergence, in nats, of the next token
            after the one group and after the other

(counterfactual fairness terms for language models: Huang et al. 2020, arXiv 1911.03064, and Garimella et al. 2021).
It must not know where pairs come from.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional
from pydantic import BaseModel, ConfigDict, Field

from ratchet_adapters.training.loss_term import TermLoss, TermModel, TermStep
from ratchet_adapters.training.loss_terms.pairs import drawn, pair_states

__all__ = ["Counterfactual", "CounterfactualOptions", "jensen_shannon"]

NAME = "counterfactual"


class CounterfactualOptions(BaseModel):
    """Options of the term."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pairs: int = Field(16, ge=1, description="Pairs per step.")
    gap_weight: float = Field(4.0, ge=0, description="Weight of the squared likelihood gap.")
    divergence_weight: float = Field(1.0, ge=0, description="Weight of the divergence of next tokens.")


class Counterfactual:
    """Weighted sum of gap and divergence. The level is the mean absolute gap, in nats per token.

    Takes the options of `CounterfactualOptions`.
    """

    def __init__(self, **options: Any) -> None:
        self._options = CounterfactualOptions.model_validate(options)

    def __call__(self, model: TermModel, step: TermStep) -> TermLoss:
        """Return the term's value at a step.

        Raises:
            TermRowsMissing: The dataset has no pairs.
        """
        seen = pair_states(model, drawn(model, step, self._options.pairs, NAME))
        head = model.model.get_base_model().get_output_embeddings()
        with model.precision():
            logits = head(seen.states)
        likely = logits.float().log_softmax(-1)
        spoken = likely.gather(-1, seen.batch.targets[:, None])[:, 0]
        tokens = seen.tokens()
        rates = torch.zeros(len(tokens), device=spoken.device).index_add(0, seen.batch.row, spoken) / tokens
        gaps = rates[0::2] - rates[1::2]
        first, second, owner = seen.endings()
        apart = jensen_shannon(likely[first], likely[second])
        divergence = torch.zeros(len(seen.rows), device=apart.device).index_add(0, owner, apart)
        divergence = (divergence / torch.bincount(owner)).mean()
        loss = self._options.gap_weight * gaps.square().mean() + self._options.divergence_weight * divergence
        gap = float(gaps.detach().abs().mean())
        return TermLoss(loss, gap, {"gap": gap, "divergence": float(divergence.detach())})


def jensen_shannon(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the Jensen-Shannon divergence, in nats, of distributions given as log-probabilities: (n, k) to (n,)."""
    middle = torch.logaddexp(first, second) - torch.log(torch.tensor(2.0))
    parts = [functional.kl_div(middle, one, log_target=True, reduction="none").sum(-1) for one in (first, second)]
    return (parts[0] + parts[1]) / 2
