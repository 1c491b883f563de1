"""Which training rows lie nearest to the prompts that are refused wrongly, and what those rows taught.

It must not claim more than nearness: a near row is where to look first, not proof that it taught the refusal. That is
why the same is counted for prompts that were answered, for comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.datasets.near_duplicates import Embed
from ratchet_adapters.diagnosis.case import Case

__all__ = ["Blame", "Neighbour", "Suspect", "blame"]


_ANSWERS = (RowKind.REFUSAL, RowKind.CONTRAST, RowKind.REPLAY)
"""Kinds of row that teach an answer to a prompt."""


@dataclass(frozen=True)
class Neighbour:
    """A training row near a prompt.

    Attributes:
        row: Its id.
        kind: What it taught: refusal, contrast or replay.
        category: Its own.
        prompt: Its prompt.
        target: What was to be answered.
        flag_ids: The flags it comes from.
        cosine: Similarity to the prompt.
    """

    row: str
    kind: str
    category: str
    prompt: str
    target: str
    flag_ids: tuple[str, ...]
    cosine: float


@dataclass(frozen=True)
class Suspect:
    """A row that is the nearest of several wrong refusals.

    Attributes:
        neighbour: The row, with its highest cosine.
        refusals: Wrong refusals whose nearest row it is.
    """

    neighbour: Neighbour
    refusals: int


@dataclass(frozen=True)
class Blame:
    """Nearest rows of every wrong refusal.

    Attributes:
        nearest: Id of the case to its nearest rows, nearest first.
        suspects: Rows that are the nearest of a wrong refusal and taught a refusal, most blamed first.
        refused_near_refusal: Wrong refusals whose nearest row taught a refusal.
        refused: Wrong refusals in all.
        answered_near_refusal: Answered benign prompts whose nearest row taught a refusal.
        answered: Answered benign prompts in all.
        rows: Training rows looked at, by kind.
    """

    nearest: dict[str, tuple[Neighbour, ...]]
    suspects: tuple[Suspect, ...]
    refused_near_refusal: int
    refused: int
    answered_near_refusal: int
    answered: int
    rows: dict[str, int]


def blame(
    refused: Sequence[Case], answered: Sequence[Case], rows: Sequence[Row], embed: Embed, *, neighbours: int
) -> Blame:
    """Find the nearest training rows by cosine of their prompts' embeddings.

    Args:
        refused: Wrongly refused cases.
        answered: Benign cases that were answered.
        rows: Of the dataset; those held out, and those that teach no answer to a prompt, are left aside.
        embed: Texts to unit vectors.
        neighbours: Rows per wrong refusal.
    """
    taught = [row for row in rows if row.split is Split.TRAIN and row.kind in _ANSWERS]
    kinds = Counter(row.kind.value for row in taught)
    if not taught:
        return Blame({}, (), 0, len(refused), 0, len(answered), dict(kinds))
    vectors = embed([row.prompt for row in taught])

    def near(cases: Sequence[Case], count: int) -> list[tuple[Neighbour, ...]]:
        if not cases:
            return []
        cosines = embed([case.question.prompt for case in cases]) @ vectors.T
        order = (-cosines).argsort(axis=1, kind="stable")[:, :count]
        return [
            tuple(_neighbour(taught[int(at)], float(line[int(at)])) for at in best)
            for best, line in zip(order, cosines, strict=True)
        ]

    wrong = near(refused, neighbours)
    right = near(answered, 1)
    return Blame(
        nearest={case.question.id: found for case, found in zip(refused, wrong, strict=True)},
        suspects=_suspects([found[0] for found in wrong]),
        refused_near_refusal=sum(found[0].kind == RowKind.REFUSAL for found in wrong),
        refused=len(refused),
        answered_near_refusal=sum(found[0].kind == RowKind.REFUSAL for found in right),
        answered=len(answered),
        rows=dict(sorted(kinds.items())),
    )


def _suspects(nearest: Sequence[Neighbour]) -> tuple[Suspect, ...]:
    own: dict[str, list[Neighbour]] = {}
    for neighbour in nearest:
        if neighbour.kind == RowKind.REFUSAL:
            own.setdefault(neighbour.row, []).append(neighbour)
    found = [Suspect(max(each, key=lambda n: n.cosine), len(each)) for each in own.values()]
    return tuple(sorted(found, key=lambda s: (-s.refusals, -s.neighbour.cosine, s.neighbour.row)))


def _neighbour(row: Row, cosine: float) -> Neighbour:
    return Neighbour(row.id, row.kind.value, row.category, row.prompt, row.target, row.flag_ids, cosine)
