"""The pairs of a step in tensors: two texts each, and where they end alike.

It must not know what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.errors import TermRowsMissing
from ratchet_adapters.training.loss_term import TermModel, TermStep
from ratchet_adapters.training.loss_terms.completions import Completions, completion_states, laid_out

__all__ = ["PairStates", "drawn", "pair_states", "rows_of"]


@dataclass(frozen=True)
class PairStates:
    """The pairs of a step, seen by the model.

    Attributes:
        rows: The pairs.
        batch: First and second texts in turns: texts 0 and 1 are the first pair.
        states: (n, width): last hidden states at the source of every predicted token.
        shared: Per pair, how many of the last predicted tokens both texts have alike; at least 1.
    """

    rows: Sequence[Row]
    batch: Completions
    states: torch.Tensor
    shared: Sequence[int]

    def tokens(self) -> torch.Tensor:
        """Predicted tokens per text: (texts,)."""
        return torch.bincount(self.batch.row, minlength=2 * len(self.rows))

    def endings(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Positions in `states` of the shared endings, in the first and second texts, and the pair of each."""
        starts = torch.cumsum(self.tokens(), 0).tolist()
        first: list[int] = []
        second: list[int] = []
        owner: list[int] = []
        for pair, shared in enumerate(self.shared):
            first += range(starts[2 * pair] - shared, starts[2 * pair])
            second += range(starts[2 * pair + 1] - shared, starts[2 * pair + 1])
            owner += [pair] * shared
        device = self.states.device
        return tuple(torch.tensor(places, device=device) for places in (first, second, owner))  # type: ignore[return-value]


def rows_of(model: TermModel, term: str) -> Sequence[Row]:
    """Return the train pairs.

    Raises:
        TermRowsMissing: There are none.
    """
    rows = model.rows(RowKind.PAIR)
    if not rows:
        raise TermRowsMissing(term, "pairs of texts (set `pairs` in the dataset's settings)")
    return rows


def pair_states(model: TermModel, rows: Sequence[Row]) -> PairStates:
    """Return some pairs with the hidden states the model has for them.

    Every token but the first of a text is predicted; a model with a beginning-of-text token has it in front.
    """
    start = model.tokenizer.bos_token_id
    texts = [
        [*([] if start is None else [start]), *model.tokenizer(text, add_special_tokens=False)["input_ids"]]
        for row in rows
        for text in (row.target, row.rejected)
    ]
    batch = laid_out([ids[:1] for ids in texts], [ids[1:] for ids in texts], pad=model.pad, device=model.model.device)
    shared = [max(1, _alike(texts[2 * pair], texts[2 * pair + 1])) for pair in range(len(rows))]
    return PairStates(rows, batch, completion_states(model, batch), shared)


def drawn(model: TermModel, step: TermStep, count: int, term: str) -> Sequence[Row]:
    """Return this step's pairs; raises as `rows_of`."""
    rows = rows_of(model, term)
    return step.chance.sample(list(rows), min(count, len(rows)))


def _alike(first: Sequence[int], second: Sequence[int]) -> int:
    """How many of the last tokens both have; the first of them is predicted from the group's name, so it counts."""
    count = 0
    for one, other in zip(reversed(first[1:]), reversed(second[1:]), strict=False):
        if one != other:
            break
        count += 1
    return count
