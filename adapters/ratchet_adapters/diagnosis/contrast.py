"""The proposed contrast set: benign twins of the triggers, judged, and kept apart from training and evaluation data.

It must not train on them nor decide that anybody should: it writes a file a person can read and a dataset can take in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from ratchet_adapters.datasets.near_duplicates import Embed, NearDuplicates
from ratchet_adapters.diagnosis.case import Did
from ratchet_adapters.diagnosis.settings import DiagnosisSettings
from ratchet_adapters.diagnosis.triggers import has_content
from ratchet_adapters.diagnosis.twin_templates import TwinTemplates
from ratchet_adapters.diagnosis.twin_writer import requests, twins_in

__all__ = ["MODEL", "TEMPLATE", "Contrast", "Twin", "candidates", "contrast_set", "write_twins"]

TEMPLATE = "template"
MODEL = "model"
KIND = "benign_twin"

Harm = Callable[[Sequence[str]], Sequence[float]]
"""Prompts to the triage scorer's probability of harm, in order."""

Judged = Callable[[Sequence[str]], Awaitable[Sequence[tuple[str, Did]]]]
"""Prompts to the base model's answers and what they are, in order."""


@dataclass(frozen=True)
class Twin:
    """A benign prompt that holds a trigger, or another sense of one of its words.

    Attributes:
        prompt: What a dataset may add; its answer is the base model's.
        origin: template or model.
        trigger: The phrase it was written for.
        harm: The triage scorer's word, below the bar for every twin that was kept.
    """

    prompt: str
    origin: str
    trigger: str
    harm: float = 0.0


@dataclass(frozen=True)
class Contrast:
    """The twins that were kept, and why the others were not.

    Attributes:
        twins: In order of their triggers.
        proposed: Candidates by origin.
        dropped: Reason to number of candidates: evaluation_item, training_row, near_duplicate, alarming,
            base_refuses, base_incoherent, enough.
    """

    twins: tuple[Twin, ...]
    proposed: dict[str, int]
    dropped: dict[str, int]


async def candidates(
    triggers: Sequence[str],
    templates: TwinTemplates,
    write: Callable[[Sequence[str]], Awaitable[Sequence[str]]],
    *,
    settings: DiagnosisSettings,
) -> list[Twin]:
    """Return twins of every trigger, unjudged: those from templates, then those the base model writes.

    Args:
        triggers: Phrases.
        templates: See `TwinTemplates`.
        write: Requests to the base model's answers, in order.
        settings: How many of each, and the seed.
    """
    found: list[Twin] = []
    wanted: list[tuple[str, str]] = []
    for trigger in triggers:
        # Seeded by trigger, so that one more trigger does not change the twins of the others.
        rng = Random(f"{settings.seed}\n{trigger}")
        found += [Twin(text, TEMPLATE, trigger) for text in templates.fill(trigger, settings.template_twins, rng)]
        if has_content(trigger):
            wanted += [(trigger, request) for request in requests(trigger, settings.model_twins)]
    answers = await write([request for _, request in wanted]) if wanted else []
    for (trigger, _), answer in zip(wanted, answers, strict=True):
        found += [Twin(text, MODEL, trigger) for text in twins_in(trigger, answer)]
    return list({twin.prompt: twin for twin in reversed(found)}.values())[::-1]


async def contrast_set(
    proposed: Sequence[Twin],
    *,
    evaluation: Sequence[str],
    training: Sequence[str],
    harm: Harm,
    answered: Judged,
    embed: Embed | None,
    settings: DiagnosisSettings,
) -> Contrast:
    """Keep the candidates that are benign, answerable and new. The cheap checks come first, the model last.

    Args:
        proposed: Candidates.
        evaluation: Texts no twin may be near.
        training: Prompts of the training data; a near duplicate would teach nothing new.
        harm: The triage scorer.
        answered: The base model with the refusal judge: a twin it declines has no answer to teach.
        embed: Texts to unit vectors; without it nearness goes by words alone.
        settings: The bars.
    """
    dropped: Counter[str] = Counter()
    left = _apart(proposed, evaluation, settings.jaccard, settings.eval_cosine, embed, "evaluation_item", dropped)
    left = _apart(left, training, settings.jaccard, settings.cosine, embed, "training_row", dropped)
    left = _distinct(left, settings, embed, dropped)
    scores = harm([twin.prompt for twin in left]) if left else []
    calm = []
    for twin, score in zip(left, scores, strict=True):
        if score < settings.triage_bar:
            calm.append(Twin(twin.prompt, twin.origin, twin.trigger, float(score)))
        else:
            dropped["alarming"] += 1
    said = await answered([twin.prompt for twin in calm]) if calm else []
    kept: list[Twin] = []
    used: Counter[str] = Counter()
    for twin, (_, did) in zip(calm, said, strict=True):
        if did is not Did.COMPLIED:
            dropped["base_incoherent" if did is Did.INCOHERENT else "base_refuses"] += 1
        elif used[twin.trigger] >= settings.twins_per_trigger:
            dropped["enough"] += 1
        else:
            used[twin.trigger] += 1
            kept.append(twin)
    counts = Counter(twin.origin for twin in proposed)
    return Contrast(tuple(kept), dict(sorted(counts.items())), {k: v for k, v in sorted(dropped.items()) if v})


def write_twins(twins: Sequence[Twin], path: Path) -> Path:
    """Write twins as JSON lines {"prompt", "kind": "benign_twin", "origin", "trigger"}.

    Raises:
        OSError: The file cannot be written.
    """
    rows = [{"prompt": t.prompt, "kind": KIND, "origin": t.origin, "trigger": t.trigger} for t in twins]
    # ASCII only: a U+2028 inside a prompt must not look like the end of a line.
    path.write_text("".join(json.dumps(row, ensure_ascii=True) + "\n" for row in rows), encoding="utf-8")
    return path


def _apart(
    twins: Sequence[Twin],
    texts: Sequence[str],
    jaccard: float,
    cosine: float,
    embed: Embed | None,
    reason: str,
    dropped: Counter[str],
) -> list[Twin]:
    if not texts or not twins:
        return list(twins)
    guard = NearDuplicates(list(dict.fromkeys(texts)), jaccard=jaccard, cosine=cosine, embed=embed)
    found = guard.matches([twin.prompt for twin in twins])
    left = [twin for twin, matches in zip(twins, found, strict=True) if not matches]
    dropped[reason] += len(twins) - len(left)
    return left


def _distinct(
    twins: Sequence[Twin], settings: DiagnosisSettings, embed: Embed | None, dropped: Counter[str]
) -> list[Twin]:
    """The first of every set of near duplicates: a twin stays when nothing kept before it is near."""
    prompts = [twin.prompt for twin in twins]
    found = NearDuplicates(prompts, jaccard=settings.jaccard, cosine=settings.cosine, embed=embed).matches(prompts)
    kept: set[int] = set()
    for index, matches in enumerate(found):
        if not kept.intersection(matches):
            kept.add(index)
    dropped["near_duplicate"] += len(twins) - len(kept)
    return [twin for index, twin in enumerate(twins) if index in kept]
