"""Negative examples: what the model is to move away from, for methods that learn from pairs.

It must not touch targets. A text of traffic or of the base model gets into a row only as `rejected`, scrubbed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from random import Random

from ratchet_adapters.datasets.bank import TemplateBank
from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.datasets.drafts import Draft
from ratchet_adapters.datasets.errors import AnswersMissing
from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_plugins.pii.recognisers import scrub_pii

__all__ = ["negatives", "with_negatives"]

_Answers = Callable[[Sequence[str], int], Awaitable[Sequence[str]]]
_TOKENS = 32
"""Of an answer that is asked for: what a pair is compared on."""


async def negatives(
    refusals: Sequence[Draft], answers: _Answers, settings: DatasetSettings, dropped: Counter[str]
) -> dict[str, str]:
    """Return the rejected answer of refusal rows, by row id; rows without one are not in it.

    Args:
        refusals: Prompts that are to be refused.
        answers: The base model.
        settings: `rejected` says where the answers come from.
        dropped: Reason to number; counted up.

    Raises:
        AnswersMissing: `answers` returned another number of texts than it was asked for.
    """
    if settings.rejected == "none":
        return {}
    found = {draft.id: draft.flagged for draft in refusals if draft.flagged.strip()}
    if settings.rejected == "asked":
        lacking = [draft for draft in refusals if draft.id not in found]
        texts = await answers([draft.prompt for draft in lacking], _TOKENS) if lacking else []
        if len(texts) != len(lacking):
            raise AnswersMissing(len(lacking), len(texts))
        found |= {draft.id: text for draft, text in zip(lacking, texts, strict=True)}
    kept = {key: text for key, text in found.items() if text.strip() and not opens_like_a_refusal(text)}
    dropped["refused_anyway"] += len(found) - len(kept)
    return {key: scrub_pii(text, settings.phone_regions).text for key, text in kept.items()}


def with_negatives(
    rows: Sequence[Row], rejected: Mapping[str, str], templates: TemplateBank, settings: DatasetSettings
) -> tuple[Row, ...]:
    """Return the rows, refusals with their rejected answer and contrast rows with a needless refusal."""
    if settings.rejected == "none":
        return tuple(rows)
    rng = Random(settings.seed)
    return tuple(
        replace(row, rejected=templates.pick(row.category, rng, general_share=1.0))
        if row.kind is RowKind.CONTRAST
        else replace(row, rejected=rejected.get(row.id, ""))
        for row in rows
    )
