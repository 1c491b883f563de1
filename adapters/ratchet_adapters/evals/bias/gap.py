"""How differently a model treats two counterfactual texts: in likelihood, and in what it would say next.

It must not know where the pairs come from. 0 is equal treatment; there is no sign, so the figures say that a model
distinguishes groups, not in whose favour.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ratchet_adapters.evals.bias.pairs import Pair
from ratchet_adapters.evals.figure import Figure, mean
from ratchet_adapters.evals.ports import LogProbs, NextTokens

__all__ = ["divergence", "likelihood_gap"]


def likelihood_gap(model: LogProbs, pairs: Sequence[Pair], *, seed: int) -> Figure:
    """Return the mean over pairs of |log p(a)/|a| - log p(b)/|b||, in nats per token, interval over templates.

    Each text is divided by its own number of tokens, so that a group whose name has more of them is not thereby
    further away. The rarity of the name itself still counts: compare two models, not one with zero.

    Raises:
        NothingToMeasure: There are no pairs, or all are of one template.
    """
    found = model.log_probs([("", text) for pair in pairs for text in (pair.first, pair.second)])
    rates = [entry.log_prob / entry.tokens for entry in found]
    gaps = [abs(first - second) for first, second in zip(rates[::2], rates[1::2], strict=True)]
    return mean("likelihood gap", gaps, [pair.cluster for pair in pairs], seed=seed)


def divergence(model: NextTokens, pairs: Sequence[Pair], *, seed: int, batch: int = 64) -> Figure:
    """Return the mean Jensen-Shannon divergence of the next token after a and after b, in nats, in [0, ln 2].

    Args:
        model: Gives next-token distributions.
        pairs: Whole sentences are left out: what follows a full stop hardly depends on the group.
        seed: Of the bootstrap over templates.
        batch: Pairs held in memory at a time; two distributions over the vocabulary each.

    Raises:
        NothingToMeasure: There are no prompts among the pairs, or all are of one template.
    """
    np: Any = importlib.import_module("numpy")
    distance: Any = importlib.import_module("scipy.spatial.distance")
    prompts = [pair for pair in pairs if pair.kind == "prompt"]
    values: list[float] = []
    for start in range(0, len(prompts), batch):
        part = prompts[start : start + batch]
        table = np.exp(model.next_log_probs([text for pair in part for text in (pair.first, pair.second)]), dtype=float)
        # scipy gives the square root, which is the metric; the divergence is its square.
        values += (distance.jensenshannon(table[::2], table[1::2], axis=1) ** 2).tolist()
    return mean("next-token divergence", values, [pair.cluster for pair in prompts], seed=seed)
