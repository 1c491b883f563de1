"""Builds a dataset version: flags select prompts, templates and the base model write targets.

It must not know where flags are stored, how the base model is served, or how training goes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from ratchet_adapters.datasets.bank import TemplateBank, load_bank
from ratchet_adapters.datasets.categories import categories
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.datasets.errors import AnswersMissing, TooFewRows
from ratchet_adapters.datasets.near_duplicates import Embed, NearDuplicates, clusters, remembering
from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal
from ratchet_adapters.datasets.seed import SeedData, load_seed
from ratchet_adapters.datasets.selection import CONTRAST, REFUSE, Lesson, Selection, select
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.datasets.training_flag import TrainingFlag

__all__ = ["Answers", "build"]

Answers = Callable[[Sequence[str], int], Awaitable[Sequence[str]]]
"""Prompts and a token limit to the base model's own answers (no adapter, rails off), in order."""

_TWIN = "benign_twin"
_ORDINARY = "ordinary"
_TEXT = "text"
_ANCHOR_WORDS = 45


@dataclass(frozen=True, slots=True)
class _Draft:
    """A row before it has a target, a split and a cluster."""

    id: str
    kind: RowKind
    prompt: str
    origin: str
    category: str = ""
    flag_ids: tuple[str, ...] = ()


async def build(
    flags: Sequence[TrainingFlag],
    *,
    answers: Answers,
    settings: DatasetSettings,
    base_fingerprint: str,
    guarded: Sequence[str] = (),
    embed: Embed | None = None,
    seed: SeedData | None = None,
    bank: TemplateBank | None = None,
) -> Dataset:
    """Build a dataset version. The same inputs and answers give the same dataset, whatever the order of flags.

    Args:
        flags: Of any kind and state; only accepted HARMFUL and OVER_REFUSAL flags teach.
        answers: The base model: it answers the contrast and replay prompts.
        settings: Bounds and mix.
        base_fingerprint: Of the base model that answers, for the lineage.
        guarded: Evaluation texts besides those of the seed suites.
        embed: Texts to unit vectors; without it near duplicates and categories go by words alone.
        seed: Seed prompts and texts to guard; the shipped ones when None.
        bank: Refusal templates; the shipped ones when None.

    Raises:
        TooFewRows: Fewer refusals than the settings ask for are left, or no contrast rows at all.
        AnswersMissing: `answers` returned another number of texts than it was asked for.
    """
    data = seed if seed is not None else load_seed()
    templates = bank if bank is not None else load_bank()
    rng = Random(settings.seed)
    embed = remembering(embed) if embed is not None else None
    guard = NearDuplicates([*data.guarded, *guarded], jaccard=settings.jaccard, cosine=settings.cosine, embed=embed)
    selection = select(flags, guard=guard, settings=settings, embed=embed)
    dropped = Counter(selection.dropped)
    refusals = _refusals(selection, data, guard, settings, rng, embed, dropped)
    if len(refusals) < settings.min_refusals:
        raise TooFewRows(RowKind.REFUSAL, len(refusals), settings.min_refusals, dropped)
    benign = _benign(selection, data, guard, settings, len(refusals), rng, dropped)
    answered = await _answered(benign, answers, settings, dropped)
    if settings.max_contrast and not any(draft.kind is RowKind.CONTRAST for draft, _ in answered):
        raise TooFewRows(RowKind.CONTRAST, 0, 1, dropped)
    share = settings.general_template_share
    taught = [(draft, templates.pick(draft.category, rng, general_share=share)) for draft in refusals]
    rows = _rows([*taught, *answered, *_anchors(data, guard, dropped)], settings, rng, embed)
    dataset = Dataset(rows, {})
    manifest = {
        "format": FORMAT,
        "rows_digest": rows_digest(rows),
        "base_fingerprint": base_fingerprint,
        "template_bank_digest": templates.digest,
        "seed_suites_digest": data.digest,
        "guarded_digest": _texts_digest([*data.guarded, *guarded]),
        "flag_ids": list(dataset.flag_ids),
        "counts": {**dataset.counts, **{split.value: sum(row.split == split for row in rows) for split in Split}},
        "dropped": {reason: count for reason, count in sorted(dropped.items()) if count},
        "embedded": embed is not None,
        "settings": settings.model_dump(mode="json"),
    }
    return replace(dataset, manifest=manifest)


def _refusals(
    selection: Selection,
    data: SeedData,
    guard: NearDuplicates,
    settings: DatasetSettings,
    rng: Random,
    embed: Embed | None,
    dropped: Counter[str],
) -> list[_Draft]:
    """Prompts to refuse: those of flags first, then as many of the seed as the settings ask for."""
    lessons = [lesson for lesson in selection.lessons if lesson.kind == REFUSE]
    lessons = _not_curated_as_benign(lessons, data, settings, dropped)
    harmful = data.of("harmful")
    names = categories(
        [lesson.prompt for lesson in lessons], harmful, embed=embed, least_similarity=settings.category_similarity
    )
    drafts = [
        _Draft(f"flag:{lesson.flag_ids[0]}", RowKind.REFUSAL, lesson.prompt, "flag", name, lesson.flag_ids)
        for lesson, name in zip(lessons, names, strict=True)
    ]
    wanted = rng.sample(harmful, min(settings.seed_harmful, len(harmful)))
    drafts += [_Draft(f"seed:{s.id}", RowKind.REFUSAL, s.prompt, "seed", s.category) for s in wanted]
    return _kept(drafts, settings.max_refusals, guard, settings, dropped)


def _benign(
    selection: Selection,
    data: SeedData,
    guard: NearDuplicates,
    settings: DatasetSettings,
    refusals: int,
    rng: Random,
    dropped: Counter[str],
) -> list[_Draft]:
    """Prompts to answer: contrast from over-refusal flags first, then seed twins; replay from ordinary prompts."""
    contrast = [
        _Draft(f"flag:{lesson.flag_ids[0]}", RowKind.CONTRAST, lesson.prompt, "flag", "", lesson.flag_ids)
        for lesson in selection.lessons
        if lesson.kind == CONTRAST
    ]
    twins, ordinary = data.of(_TWIN), data.of(_ORDINARY)
    contrast += [
        _Draft(f"seed:{s.id}", RowKind.CONTRAST, s.prompt, "seed", s.category) for s in rng.sample(twins, len(twins))
    ]
    replay = [
        _Draft(f"seed:{s.id}", RowKind.REPLAY, s.prompt, "seed", s.category)
        for s in rng.sample(ordinary, len(ordinary))
    ]
    wanted = min(settings.max_contrast, max(settings.min_contrast, round(refusals * settings.contrast_per_refusal)))
    replayed = min(settings.max_replay, max(settings.min_replay, round(refusals * settings.replay_per_refusal)))
    return [
        *_kept(contrast, wanted, guard, settings, dropped),
        *_kept(replay, replayed, guard, settings, dropped),
    ]


def _not_curated_as_benign(
    lessons: Sequence[Lesson], data: SeedData, settings: DatasetSettings, dropped: Counter[str]
) -> list[Lesson]:
    """Leave out prompts the seed suites hold as benign: an accepted flag can be a mistake or an attack."""
    # Words only: embeddings put a twin close to the harmful prompt it imitates.
    benign = NearDuplicates([s.prompt for s in (*data.of(_TWIN), *data.of(_ORDINARY))], jaccard=settings.jaccard)
    found = benign.matches([lesson.prompt for lesson in lessons])
    dropped["curated_as_benign"] += sum(map(bool, found))
    return [lesson for lesson, matches in zip(lessons, found, strict=True) if not matches]


def _kept(
    drafts: Sequence[_Draft], most: int, guard: NearDuplicates, settings: DatasetSettings, dropped: Counter[str]
) -> list[_Draft]:
    """The first `most` drafts that repeat no earlier draft and no evaluation text."""
    found = guard.matches([draft.prompt for draft in drafts])
    clean = [draft for draft, matches in zip(drafts, found, strict=True) if not matches]
    dropped["evaluation_item"] += len(drafts) - len(clean)
    numbers = clusters([draft.prompt for draft in clean], jaccard=settings.jaccard)
    first = [draft for index, (draft, number) in enumerate(zip(clean, numbers, strict=True)) if index == number]
    dropped["near_duplicate"] += len(clean) - len(first)
    dropped["cap"] += max(0, len(first) - most)
    return first[:most]


async def _answered(
    drafts: Sequence[_Draft], answers: Answers, settings: DatasetSettings, dropped: Counter[str]
) -> list[tuple[_Draft, str]]:
    if not drafts:
        return []
    texts = await answers([draft.prompt for draft in drafts], settings.answer_tokens)
    if len(texts) != len(drafts):
        raise AnswersMissing(len(drafts), len(texts))
    kept = []
    for draft, text in zip(drafts, texts, strict=True):
        if not text.strip():
            dropped["empty_answer"] += 1
        elif opens_like_a_refusal(text):
            dropped["refusing_answer"] += 1
        else:
            kept.append((draft, text.strip()))
    return kept


def _anchors(data: SeedData, guard: NearDuplicates, dropped: Counter[str]) -> list[tuple[_Draft, str]]:
    """Plain text in pieces, on which training holds the adapter to the base model."""
    pieces = []
    for item in data.of(_TEXT):
        words = item.prompt.split()
        texts = [" ".join(words[i : i + _ANCHOR_WORDS]) for i in range(0, len(words), _ANCHOR_WORDS)]
        pieces += [
            (_Draft(f"seed:{item.id}.{number}", RowKind.ANCHOR, "", "seed", item.category), text)
            for number, text in enumerate(texts)
            if len(text.split()) >= _ANCHOR_WORDS // 2
        ]
    found = guard.matches([text for _, text in pieces])
    dropped["evaluation_item"] += sum(map(bool, found))
    return [piece for piece, matches in zip(pieces, found, strict=True) if not matches]


def _rows(
    targets: Sequence[tuple[_Draft, str]], settings: DatasetSettings, rng: Random, embed: Embed | None
) -> tuple[Row, ...]:
    numbers = clusters(
        [draft.prompt or target for draft, target in targets],
        jaccard=settings.jaccard,
        cosine=settings.cosine,
        embed=embed,
    )
    anchors = {n for (draft, _), n in zip(targets, numbers, strict=True) if draft.kind is RowKind.ANCHOR}
    distinct = sorted(set(numbers) - anchors)
    held_out = set(rng.sample(distinct, int(len(distinct) * settings.validation_share)))
    rows = [
        Row(
            id=draft.id,
            kind=draft.kind,
            split=Split.VALIDATION if number in held_out else Split.TRAIN,
            category=draft.category,
            prompt=draft.prompt,
            target=target,
            origin=draft.origin,
            flag_ids=draft.flag_ids,
            cluster=number,
        )
        for (draft, target), number in zip(targets, numbers, strict=True)
    ]
    return tuple(rows)


def _texts_digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in sorted(set(texts)):
        digest.update(hashlib.sha256(text.encode()).digest())
    return f"sha256:{digest.hexdigest()}"
