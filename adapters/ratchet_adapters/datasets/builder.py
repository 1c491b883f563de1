"""Builds a dataset version: flags select prompts, templates and the base model write targets.

It must not know where flags are stored, how the base model is served, or how training goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from typing import Any

from ratchet_adapters.datasets.bank import TemplateBank, load_bank
from ratchet_adapters.datasets.dataset import Dataset, Row, RowKind, Split
from ratchet_adapters.datasets.drafts import Draft, Drafting
from ratchet_adapters.datasets.errors import AnswersMissing, TooFewRows
from ratchet_adapters.datasets.extra_contrast import read_contrast_files
from ratchet_adapters.datasets.leakage import SuiteTexts, TextSuite, leaks, suite_texts
from ratchet_adapters.datasets.manifest import Made, manifest_of
from ratchet_adapters.datasets.material import material
from ratchet_adapters.datasets.near_duplicates import Embed, NearDuplicates, clusters, remembering
from ratchet_adapters.datasets.negatives import negatives, with_negatives
from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal
from ratchet_adapters.datasets.seed import SeedData, load_seed
from ratchet_adapters.datasets.selection import select
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.datasets.training_flag import TrainingFlag
from ratchet_plugins.pii.recognisers import scrub_pii

__all__ = ["Answers", "Revise", "build"]

Revise = Callable[[Sequence[Row]], Awaitable[tuple[tuple[Row, ...], Mapping[str, Any]]]]
"""Rows to rows with revised targets, and what to say of it in the manifest."""

Answers = Callable[[Sequence[str], int], Awaitable[Sequence[str]]]
"""Prompts and a token limit to the base model's own answers (no adapter, rails off), in order."""


async def build(
    flags: Sequence[TrainingFlag],
    *,
    answers: Answers,
    settings: DatasetSettings,
    base_fingerprint: str,
    guarded: Sequence[str] = (),
    suites: Sequence[SuiteTexts] = (),
    embed: Embed | None = None,
    seed: SeedData | None = None,
    bank: TemplateBank | None = None,
    revise: Revise | None = None,
) -> Dataset:
    """Build a dataset version. The same inputs and answers give the same dataset, whatever the order of flags.

    Args:
        flags: Of any kind and state; only accepted HARMFUL and OVER_REFUSAL flags teach.
        answers: The base model: it answers the contrast and replay prompts.
        settings: Bounds and mix.
        base_fingerprint: Of the base model that answers, for the lineage.
        guarded: Evaluation texts besides those of the seed suites.
        suites: Suites a candidate is evaluated on: their items are kept out too, and the result is checked against
            each. The seed suites always are.
        embed: Texts to unit vectors; without it near duplicates and categories go by words alone, and labels are
            not checked.
        seed: Seed prompts and texts to guard; the shipped ones when None.
        bank: Refusal templates; the shipped ones when None.
        revise: Puts other targets in place of those a critic found wanting, when the method asks for it.

    Raises:
        TooFewRows: Fewer refusals than the settings ask for are left, or no contrast rows at all.
        AnswersMissing: `answers` returned another number of texts than it was asked for.
        ContrastFileInvalid: A file of extra contrast prompts can not be used.
        SuiteUnreadable: The items of a suite can not be read.
    """
    data = seed if seed is not None else load_seed()
    templates = bank if bank is not None else load_bank()
    files = read_contrast_files(settings.extra_contrast)
    embed = remembering(embed) if embed is not None else None
    known = [TextSuite("seed evaluation split", data.guarded, data.digest), *suites]
    kept_out = tuple(dict.fromkeys([*suite_texts(known), *guarded]))
    guard = NearDuplicates(kept_out, jaccard=settings.jaccard, cosine=settings.cosine, embed=embed)
    selection = select(flags, guard=guard, settings=settings, embed=embed)
    counts = Counter(selection.dropped), Counter(selection.pii)
    drafting = Drafting(data, guard, settings, Random(settings.seed), embed, *counts)
    wanted = drafting.wanted(selection, files)
    refusals = drafting.refusals(wanted)
    if len(refusals) < settings.min_refusals:
        raise TooFewRows(RowKind.REFUSAL, len(refusals), settings.min_refusals, drafting.dropped)
    answered = await _answered(drafting.benign(wanted, len(refusals)), answers, settings, drafting.dropped)
    if settings.max_contrast and not any(draft.kind is RowKind.CONTRAST for draft, _ in answered):
        raise TooFewRows(RowKind.CONTRAST, 0, 1, drafting.dropped)
    share = settings.general_template_share
    taught = [(draft, templates.pick(draft.category, drafting.rng, general_share=share)) for draft in refusals]
    rows = _rows([*taught, *answered, *drafting.anchors()], settings, drafting.rng, embed)
    rows = with_negatives(rows, await negatives(refusals, answers, settings, drafting.dropped), templates, settings)
    rows = (*rows, *material(settings, first_cluster=len(rows)))
    revision: Mapping[str, Any] = {}
    if revise is not None:
        rows, revision = await revise(rows)
    leaked = leaks(rows, known, jaccard=settings.jaccard, cosine=settings.cosine, embed=embed)
    digest = templates.digest
    made = Made(rows, base_fingerprint, digest, kept_out, files, selection, wanted, drafting, leaked)
    return Dataset(rows, manifest_of(made, constitution=revision))


async def _answered(
    drafts: Sequence[Draft], answers: Answers, settings: DatasetSettings, dropped: Counter[str]
) -> list[tuple[Draft, str]]:
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
        elif scrub_pii(text, settings.phone_regions).found:
            # A placeholder in an answer would be taught as an answer; there are other prompts.
            dropped["pii_in_answer"] += 1
        else:
            kept.append((draft, text.strip()))
    return kept


def _rows(
    targets: Sequence[tuple[Draft, str]], settings: DatasetSettings, rng: Random, embed: Embed | None
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
