"""Which flags may teach: accepted, scrubbed, clean of evaluation items, no burst, agreed on, bounded per principal.

It must not know the targets. It counts why each flag that does not teach was left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ratchet_adapters.datasets.near_duplicates import Embed, NearDuplicates, clusters
from ratchet_adapters.datasets.quarantine import Quarantined, burst
from ratchet_adapters.datasets.scrub import scrubbed
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.datasets.signals import Signal, signals_of
from ratchet_adapters.datasets.training_flag import TrainingFlag

__all__ = ["CONTRAST", "REFUSE", "Lesson", "Selection", "Unbacked", "select"]

REFUSE = "HARMFUL"
CONTRAST = "OVER_REFUSAL"
_ACCEPTED = "ACCEPTED"
_RAW = 16
"""A prompt of more than this many times the longest kept is not even scrubbed: that would take seconds."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One prompt that flags ask to teach, scrubbed.

    Attributes:
        kind: HARMFUL or OVER_REFUSAL.
        prompt: Scrubbed.
        flag_ids: The flag whose prompt it is first, then the accepted flags of the same kind that say the same.
        principal: Of the first flag: the one it counts against.
        signals: The independent signals behind it.
        answer: What was answered to the first flag's prompt, as it was flagged; may be empty.
    """

    kind: str
    prompt: str
    flag_ids: tuple[str, ...]
    principal: str
    signals: tuple[Signal, ...] = ()
    answer: str = ""


@dataclass(frozen=True, slots=True)
class Unbacked:
    """Accepted flags of one prompt that too few independent signals stand behind."""

    flag_ids: tuple[str, ...]
    signals: tuple[Signal, ...]


@dataclass(frozen=True)
class Selection:
    """What flags may teach, and why the others may not.

    Attributes:
        lessons: What may be taught.
        dropped: Reason to number of flags that gave no lesson of their own.
        quarantined: The bursts among them.
        unbacked: Those without enough signals.
        pii: Kind of entity to how many were replaced in the prompts of accepted flags.
    """

    lessons: tuple[Lesson, ...]
    dropped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    quarantined: tuple[Quarantined, ...] = ()
    unbacked: tuple[Unbacked, ...] = ()
    pii: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


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
    pii: Counter[str] = Counter()
    usable: list[tuple[TrainingFlag, str]] = []
    for flag in sorted({flag.id: flag for flag in flags}.values(), key=lambda flag: flag.id):
        reason = _unusable(flag, settings)
        if not reason:
            clean = scrubbed(flag.prompt, settings.phone_regions)
            pii.update(clean.found)
            reason = _untaught(clean.text, settings)
            usable += [] if reason else [(flag, clean.text)]
        if reason:
            dropped[reason] += 1
    usable = _unguarded(usable, guard, dropped)
    lessons, quarantined, unbacked = _collapse(usable, settings, embed, dropped)
    bounded = _bounded(lessons, settings, dropped)
    return Selection(
        tuple(bounded), MappingProxyType(dict(dropped)), tuple(quarantined), tuple(unbacked), MappingProxyType(pii)
    )


def _unusable(flag: TrainingFlag, settings: DatasetSettings) -> str:
    if flag.state != _ACCEPTED:
        return "not_accepted"
    if flag.kind not in (REFUSE, CONTRAST):
        return "other_kind"
    return "too_long" if len(flag.prompt) > _RAW * settings.max_prompt_chars else ""


def _untaught(prompt: str, settings: DatasetSettings) -> str:
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
) -> tuple[list[Lesson], list[Quarantined], list[Unbacked]]:
    """One lesson per near-duplicate cluster, unless it is a burst, a contradiction in review, or poorly backed."""
    numbers = clusters([prompt for _, prompt in usable], jaccard=settings.jaccard, cosine=settings.cosine, embed=embed)
    groups: dict[int, list[tuple[TrainingFlag, str]]] = {}
    for number, pair in zip(numbers, usable, strict=True):
        groups.setdefault(number, []).append(pair)
    lessons: list[Lesson] = []
    quarantined: list[Quarantined] = []
    unbacked: list[Unbacked] = []
    for group in groups.values():
        flags = [flag for flag, _ in group]
        ids = tuple(flag.id for flag in flags)
        signals = signals_of(flags, settings)
        if found := burst(flags, settings):
            dropped["quarantined"] += len(group)
            quarantined.append(found)
        elif len({flag.kind for flag in flags}) > 1:
            dropped["contradiction"] += len(group)
        elif len(signals) < settings.min_signals:
            dropped["too_few_signals"] += len(group)
            unbacked.append(Unbacked(ids, signals))
        else:
            dropped["near_duplicate"] += len(group) - 1
            first = flags[0]
            lessons.append(Lesson(first.kind, group[0][1], ids, first.principal, signals, first.answer))
    return lessons, quarantined, unbacked


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
