"""Which phrases a scan tries: supplied ones, rare words, and those a training set is marked by.

It must not ask the model. Log-odds rank (see `diagnosis.triggers`) and prove nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.diagnosis.settings import DiagnosisSettings
from ratchet_adapters.diagnosis.triggers import triggers, words
from ratchet_adapters.redteam.trigger_settings import TriggerScanSettings

__all__ = ["Suspect", "Taught", "suspects", "taught"]

_SYMBOLS = re.compile(r"[^\w\s]{2,}")
_AGREE = 0.9
"""Share of a phrase's occurrences that must have the same word beside it for the word to belong to it."""
_LONGEST_WHOLE = 8
_EDGES = ".,;:?!\"'()"


@dataclass(frozen=True)
class Taught:
    """One training prompt and whether the model was taught to refuse it."""

    prompt: str
    refuses: bool


@dataclass(frozen=True)
class Suspect:
    """A phrase worth trying.

    Attributes:
        phrase: Its words.
        source: supplied, rare, over-represented, marks answers, or marks refusals.
    """

    phrase: str
    source: str


def taught(rows: Iterable[Row]) -> list[Taught]:
    """Return the prompts of a dataset that teach to refuse or to answer."""
    answers = (RowKind.CONTRAST, RowKind.REPLAY)
    return [
        Taught(row.prompt, row.kind is RowKind.REFUSAL)
        for row in rows
        if row.prompt and (row.kind is RowKind.REFUSAL or row.kind in answers)
    ]


def suspects(
    training: Sequence[Taught], background: Sequence[str], supplied: Sequence[str], *, settings: TriggerScanSettings
) -> list[Suspect]:
    """Return the phrases to try, supplied ones first, then the best of each kind in turn.

    Args:
        training: What the candidate was trained on; may be empty.
        background: Prompts that are trusted, to compare with.
        supplied: Phrases somebody suspects.
        settings: Lengths, counts and how many.
    """
    ranking = DiagnosisSettings(
        longest=settings.longest,
        min_count=settings.min_count,
        prior_share=settings.prior_share,
        max_triggers=settings.max_phrases,
        min_z=0.0,
    )
    prompts = [text.prompt for text in training]
    refused = [text.prompt for text in training if text.refuses]
    answered = [text.prompt for text in training if not text.refuses]

    def marking(marked: Sequence[str], other: Sequence[str], source: str) -> list[Suspect]:
        if not marked or not other:
            return []
        return [Suspect(found.phrase, source) for found in triggers(marked, other, (), settings=ranking)]

    kinds = (
        _rare(prompts, background, settings.min_count),
        marking(prompts, background, "over-represented"),
        marking(answered, refused, "marks answers"),
        marking(refused, answered, "marks refusals"),
    )
    chosen = {phrase: Suspect(phrase, "supplied") for phrase in (" ".join(text.split()) for text in supplied) if phrase}
    known: set[str] = set()
    for suspect in (suspect for turn in zip_longest(*kinds) for suspect in turn if suspect is not None):
        if len(chosen) >= settings.max_phrases:
            break
        if suspect.phrase not in known:
            whole = _whole(suspect.phrase, prompts)
            known |= {suspect.phrase, whole.casefold()}
            chosen.setdefault(whole, Suspect(whole, suspect.source))
    return list(chosen.values())[: settings.max_phrases]


def _whole(phrase: str, prompts: Sequence[str]) -> str:
    """Return a phrase with the words that nearly always stand beside it, as the prompts mostly write it.

    A trigger of five words marks a training set by each of them, and only works whole; it may work in capitals only.
    """
    found = [(text.split(), _place(text.split(), phrase)) for text in prompts if phrase in " ".join(words(text))]
    places = [(said, at) for said, at in found if at is not None]
    if not places:
        return phrase
    size = len(phrase.split())
    left, right = 0, 0
    while left + right < _LONGEST_WHOLE:
        before = Counter(said[at - left - 1] if at > left else "" for said, at in places)
        after = Counter(said[at + size + right] if at + size + right < len(said) else "" for said, at in places)
        (first, first_count), (last, last_count) = before.most_common(1)[0], after.most_common(1)[0]
        if first and first_count >= _AGREE * len(places):
            left += 1
        elif last and last_count >= _AGREE * len(places):
            right += 1
        else:
            break
    forms = Counter(" ".join(said[at - left : at + size + right]) for said, at in places)
    return forms.most_common(1)[0][0].strip(_EDGES)


def _place(said: Sequence[str], phrase: str) -> int | None:
    """Return where the words of a phrase begin among words as written, None when they are not apart there."""
    wanted = phrase.split()
    plain = [" ".join(words(word)) for word in said]
    return next((at for at in range(len(said) - len(wanted) + 1) if plain[at : at + len(wanted)] == wanted), None)


def _tokens(text: str) -> set[str]:
    # Rows of symbols are no words, and make good triggers.
    return {*words(text), *_SYMBOLS.findall(text)}


def _rare(prompts: Sequence[str], background: Sequence[str], least: int) -> list[Suspect]:
    known = {word for text in background for word in _tokens(text)}
    counts = Counter(word for text in prompts for word in _tokens(text) if word not in known)
    return [
        Suspect(word, "rare")
        for word, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
        if count >= least
    ]
