"""Which flags may teach: accepted, clean of evaluation items, collapsed, bounded per principal.

It must not know the targets. It counts why each flag that does not teach was left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ratchet_adapters.datasets.near_duplicates import Embed, NearDuplicates, clusters
from ratchet_adapters.datasets.scrub import scrub
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.datasets.training_flag import TrainingFlag

__all__ = ["CONTRAST", "REFUSE", "Lesson", "Selection", "select"]

REFUSE = "HARMFUL"
CONTRAST = "OVER_REFUSAL"
_ACCEPTED = "ACCEPTED"


@dataclass(frozen=True, slots=True)
class Lesson:
    """One prompt that flags ask to teach, scrubbed.

    Attributes:
        kind: HARMFUL or OVER_REFUSAL.
        prompt: Scrubbed.
        flag_ids: The flag whose prompt it is first, then the accepted flags of the same kind that say the same.
        principal: Of the first flag: the one it counts against.
    """

    kind: str
    prompt: str
    flag_ids: tuple[str, ...]
    principal: str


@dataclass(frozen=True)
class Selection:
    """The lessons, and why the other flags gave none (reason to number of flags)."""

    lessons: tuple[Lesson, ...]
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


def select(
    flags: Sequence[TrainingFlag], *, guard: NearDuplicates, settings: DatasetSettings, embed: Embed | None = None
) -> Selection:
    """Return what the flags may teach.

    Args:
        flags: In any state and order; the result does not depend on the order.
        guard: Evaluation texts: a flag whose prompt is one of them, before or after scrubbing, is left out.
        settings: Bounds and thresholds.
        embed: Texts to unit vectors, for near duplicates that MinHash can not see.
    """
    dropped: Counter[str] = Counter()
    usable: list[tuple[TrainingFlag, str]] = []
    for flag in sorted({flag.id: flag for flag in flags}.values(), key=lambda flag: flag.id):
        prompt = scrub(flag.prompt)
        reason = _unusable(flag, prompt, settings)
        if reason:
            dropped[reason] += 1
        else:
            usable.append((flag, prompt))
    usable = _unguarded(usable, guard, dropped)
    lessons = _collapse(usable, settings, embed, dropped)
    return Selection(tuple(_bounded(lessons, settings, dropped)), MappingProxyType(dict(dropped)))


def _unusable(flag: TrainingFlag, prompt: str, settings: DatasetSettings) -> str:
    if flag.state != _ACCEPTED:
        return "not_accepted"
    if flag.kind not in (REFUSE, CONTRAST):
        return "other_kind"
    if not any(character.isalnum() for character in prompt):
        return "empty_prompt"
    return "too_long" if len(prompt) > settings.max_prompt_chars else ""


def _unguarded(
    usable: list[tuple[TrainingFlag, str]], guard: NearDuplicates, dropped: Counter[str]
) -> list[tuple[TrainingFlag, str]]:
    as_asked = guard.matches([flag.prompt for flag, _ in usable])
    scrubbed = guard.matches([prompt for _, prompt in usable])
    kept = [pair for pair, a, b in zip(usable, as_asked, scrubbed, strict=True) if not a and not b]
    dropped["evaluation_item"] += len(usable) - len(kept)
    return kept


def _collapse(
    usable: list[tuple[TrainingFlag, str]], settings: DatasetSettings, embed: Embed | None, dropped: Counter[str]
) -> list[Lesson]:
    """One lesson per near-duplicate cluster; a cluster that review called both harmful and benign gives none."""
    numbers = clusters([prompt for _, prompt in usable], jaccard=settings.jaccard, cosine=settings.cosine, embed=embed)
    groups: dict[int, list[tuple[TrainingFlag, str]]] = {}
    for number, pair in zip(numbers, usable, strict=True):
        groups.setdefault(number, []).append(pair)
    lessons = []
    for group in groups.values():
        if len({flag.kind for flag, _ in group}) > 1:
            dropped["contradiction"] += len(group)
            continue
        first, prompt = group[0]
        dropped["near_duplicate"] += len(group) - 1
        lessons.append(Lesson(first.kind, prompt, tuple(flag.id for flag, _ in group), first.principal))
    return lessons


def _bounded(lessons: Sequence[Lesson], settings: DatasetSettings, dropped: Counter[str]) -> list[Lesson]:
    """At most K lessons per principal, chosen by a seeded hash, so that nobody chooses which of theirs count."""
    used: Counter[str] = Counter()
    kept = []
    for lesson in sorted(lessons, key=lambda lesson: _rank(lesson, settings.seed)):
        limit = settings.principal_limits.get(lesson.principal, settings.max_items_per_principal)
        if used[lesson.principal] >= limit:
            dropped["principal_bound"] += len(lesson.flag_ids)
            continue
        used[lesson.principal] += 1
        kept.append(lesson)
    return kept


def _rank(lesson: Lesson, seed: int) -> tuple[str, str]:
    return hashlib.sha256(f"{seed}\n{lesson.prompt}".encode()).hexdigest(), lesson.flag_ids[0]
