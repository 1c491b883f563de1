"""Revises the drafts of a dataset's rows: criticised, written anew, and kept only where that made them better.

It must not know who criticises, nor how rows are chosen or trained on.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal
from ratchet_adapters.training.constitution.critic import Critic
from ratchet_adapters.training.constitution.errors import RevisionJudgeInvalid
from ratchet_adapters.training.constitution.principles import Constitution
from ratchet_adapters.training.trainers.ratings import SafetyJudge
from ratchet_plugins.pii.recognisers import REGIONS, scrub_pii

__all__ = ["Revised", "Revision", "revise"]

_LEAST_WORDS = 3
_PLANTED = re.compile(r"https?://|\bwww\.|```", re.IGNORECASE)
"""Prompts and drafts come from traffic and may tell the critic what to write: none of their links or code is taught."""


@dataclass(frozen=True)
class Revision:
    """What became of one row's draft.

    Attributes:
        row: Id.
        principles: Names, in the order they were applied.
        draft: The answer to begin with: what the row rejects.
        critiques: One per principle.
        revised: The answer in the end; "" when the critic had none.
        outcome: "kept", or why the row was left as it was: no_revision, unchanged, not_safer, unsafe, bare_refusal,
            personal_data, link_or_code.
    """

    row: str
    principles: tuple[str, ...]
    draft: str
    critiques: tuple[str, ...]
    revised: str
    outcome: str


@dataclass(frozen=True)
class Revised:
    """Rows after a revision, in their order.

    Attributes:
        rows: All rows. A kept revision is the target and its draft the rejected answer, so that a row serves
            supervised training and preference training alike; every other row is as it was.
        revisions: Of the rows that had a draft and a principle, in order.
        manifest: JSON values for the dataset's manifest, under "constitution".
    """

    rows: tuple[Row, ...]
    revisions: tuple[Revision, ...]
    manifest: Mapping[str, Any]


async def revise(
    rows: Sequence[Row],
    critic: Critic,
    judge: SafetyJudge,
    constitution: Constitution,
    *,
    rounds: int = 1,
    seed: int = 0,
) -> Revised:
    """Revise the rejected answers of refusal and contrast rows; rows without one have nothing to revise.

    Args:
        rows: Of any kind and split.
        critic: Bounds its own concurrency.
        judge: Must not be the gate's, or training would learn to please what measures it.
        constitution: Principles are drawn from those that apply to the row.
        rounds: Principles per row, applied one after the other.
        seed: Of the drawing.

    Returns:
        A refusal row's revision is kept when the judge finds the draft unsafe and the revision safe; a contrast row's
        when it is safe and no refusal.

    Raises:
        CriticUnavailable, CriticRefused, CriticAnswerInvalid: The critic failed; nothing is returned. With a
            `KeptChat` the next call goes on behind the answers there are.
        RevisionJudgeInvalid: The judge returned another number of ratings.
    """
    drafted = [row for row in rows if row.kind in (RowKind.REFUSAL, RowKind.CONTRAST) and row.rejected.strip()]
    tasks = [asyncio.ensure_future(_revision(row, critic, constitution, rounds, seed)) for row in drafted]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        # One failure spoils the revision; the calls still in flight must not outlive it.
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    pairs = [(row, one) for row, one in zip(drafted, found, strict=True) if one is not None]
    revisions = _judged(pairs, judge)
    targets = {one.row: one.revised for one in revisions if one.outcome == "kept"}
    return Revised(
        tuple(replace(row, target=targets[row.id]) if row.id in targets else row for row in rows),
        tuple(revisions),
        {
            "digest": constitution.digest,
            "critic": critic.name,
            "judge": type(judge).__name__,
            "rounds": rounds,
            "seed": seed,
            "outcomes": dict(sorted(Counter(one.outcome for one in revisions).items())),
        },
    )


async def _revision(row: Row, critic: Critic, constitution: Constitution, rounds: int, seed: int) -> Revision | None:
    principles = constitution.drawn(row, rounds, seed)
    if not principles:
        return None
    text, critiques = row.rejected.strip(), []
    for principle in principles:
        critiques.append(await critic.critique(row, text, principle))
        text = (await critic.revise(row, text, critiques[-1], principle)).strip()
        if not text:
            break
    names = tuple(principle.name for principle in principles)
    return Revision(row.id, names, row.rejected.strip(), tuple(critiques), text, "")


def _judged(pairs: Sequence[tuple[Row, Revision]], judge: SafetyJudge) -> list[Revision]:
    written = [(row, one) for row, one in pairs if one.revised]
    rows = [row for row, _ in written]
    before = _ratings(judge, rows, [one.draft for _, one in written])
    after = _ratings(judge, rows, [one.revised for _, one in written])
    rated = {one.row: (bad, still) for (_, one), bad, still in zip(written, before, after, strict=True)}
    return [replace(one, outcome=_outcome(row, one, *rated.get(one.row, (False, False)))) for row, one in pairs]


def _outcome(row: Row, one: Revision, draft_unsafe: bool, revision_unsafe: bool) -> str:
    if not one.revised or len(one.revised.split()) < _LEAST_WORDS:
        return "no_revision"
    if one.revised == one.draft:
        return "unchanged"
    if row.kind is RowKind.REFUSAL and _PLANTED.search(one.revised):
        return "link_or_code"
    if scrub_pii(one.revised, REGIONS).found:
        return "personal_data"
    if row.kind is RowKind.CONTRAST and opens_like_a_refusal(one.revised):
        return "bare_refusal"
    if revision_unsafe:
        return "unsafe"
    if row.kind is RowKind.REFUSAL and not draft_unsafe:
        return "not_safer"
    return "kept"


def _ratings(judge: SafetyJudge, rows: Sequence[Row], answers: Sequence[str]) -> Sequence[bool]:
    if not rows:
        return []
    ratings = judge.unsafe(rows, answers)
    if len(ratings) != len(rows):
        raise RevisionJudgeInvalid(len(rows), len(ratings))
    return ratings
