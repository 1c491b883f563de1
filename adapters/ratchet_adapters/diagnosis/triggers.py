"""Which phrases mark a group of prompts, such as those refused wrongly: log-odds with an informative Dirichlet prior.

It must not ask the model: a phrase that marks refusals need not cause them (see `leave_one_out`).

Method: Monroe, Colaresi and Quinn 2008, "Fightin' Words", equations 16, 19, 20 and 22. For a phrase w with counts
y_r among refused prompts (n_r in all) and y_a among answered ones (n_a), and prior counts a_w (a_0 in all):
delta = log((y_r + a_w) / (n_r + a_0 - y_r - a_w)) - log((y_a + a_w) / (n_a + a_0 - y_a - a_w)),
var = 1 / (y_r + a_w) + 1 / (y_a + a_w), z = delta / sqrt(var).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ratchet_adapters.diagnosis.settings import DiagnosisSettings

__all__ = ["LogOdds", "Trigger", "has_content", "log_odds", "occurrences", "phrases", "triggers", "words"]

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

_FUNCTION_WORDS = """
    a about after all also am an and any are as at be because been before but by can could did do does doing don't
    down each for from get give go had has have he her here hers him his how i i'm if in into is it it's its just let
    like make makes may me might more most my no nor not now of off on one only or other our out over own please s
    same shall she should so some such than that that's the their them then there these they this those through to
    too under until up us very was we were what what's when where which while who whom whose why will with would you
    your yours
"""


@dataclass(frozen=True)
class LogOdds:
    """How much more a phrase belongs to one group than to the other.

    Attributes:
        delta: Difference of the log-odds, prior included.
        z: delta over its standard deviation. Many phrases are compared at once, so it ranks and proves nothing.
    """

    delta: float
    z: float


@dataclass(frozen=True)
class Trigger:
    """A phrase that marks one group of prompts against another.

    Attributes:
        phrase: Its words, lower case, one space between them.
        marked: Prompts of the marked group it occurs in.
        other: Prompts of the other group it occurs in.
        delta: See `LogOdds`.
        z: See `LogOdds`.
    """

    phrase: str
    marked: int
    other: int
    delta: float
    z: float


def words(text: str) -> list[str]:
    """Return the words of a text, lower case."""
    return [match.group().casefold().replace("’", "'") for match in _WORD.finditer(text)]


def phrases(text: str, size: int) -> frozenset[str]:
    """Return the distinct phrases of `size` words of a text; a prompt that says one twice counts once."""
    found = words(text)
    return frozenset(" ".join(found[at : at + size]) for at in range(len(found) - size + 1))


def has_content(phrase: str) -> bool:
    """Return whether a phrase has a word that says something by itself: a twin of "so that" would be about nothing."""
    return not set(_FUNCTION_WORDS.split()).issuperset(phrase.split())


def occurrences(text: str, phrase: str) -> list[tuple[int, int]]:
    """Return where in a text a phrase stands, as (start, end) in characters; case and punctuation do not matter."""
    marks = [(match.start(), match.end()) for match in _WORD.finditer(text)]
    said, wanted = words(text), phrase.split()
    size = len(wanted)
    return [
        (marks[at][0], marks[at + size - 1][1])
        for at in range(len(said) - size + 1)
        if size and said[at : at + size] == wanted
    ]


def log_odds(
    refused: Mapping[str, int], answered: Mapping[str, int], background: Mapping[str, int], *, prior_weight: float
) -> dict[str, LogOdds]:
    """Return the weighted log-odds of every phrase of `refused` or `answered`.

    Args:
        refused: Phrase to count in the one group.
        answered: Phrase to count in the other.
        background: Phrase to count in the corpus the prior is taken from; it must hold every phrase of both groups.
        prior_weight: What the counts of the prior add up to.

    Raises:
        ValueError: A phrase has no count in the background: its prior would be 0.
    """
    vocabulary = sorted({*refused, *answered})
    absent = [phrase for phrase in vocabulary if background.get(phrase, 0) <= 0]
    if absent:
        raise ValueError(f"The background lacks {len(absent)} phrases, such as {absent[0]!r}: add the groups to it.")
    total = sum(background.values())
    n_refused, n_answered = sum(refused.values()), sum(answered.values())
    found = {}
    for phrase in vocabulary:
        prior = prior_weight * background[phrase] / total
        one, other = refused.get(phrase, 0) + prior, answered.get(phrase, 0) + prior
        rest, other_rest = n_refused + prior_weight - one, n_answered + prior_weight - other
        if rest <= 0 or other_rest <= 0:
            # A vocabulary of one phrase has no odds.
            found[phrase] = LogOdds(0.0, 0.0)
            continue
        delta = math.log(one / rest) - math.log(other / other_rest)
        found[phrase] = LogOdds(delta, delta / math.sqrt(1 / one + 1 / other))
    return found


def triggers(
    marked: Sequence[str], other: Sequence[str], background: Sequence[str], *, settings: DiagnosisSettings
) -> list[Trigger]:
    """Return the phrases of 1 to `longest` words that mark a group of prompts, highest z first.

    Each length is compared by itself, since its counts have a total of their own. Of phrases that stand in exactly the
    same prompts the shortest are kept: the longer ones say no more.

    Args:
        marked: The one group, such as benign prompts that were refused.
        other: The other, such as benign prompts that were answered.
        background: Further prompts for the prior, such as the harmful ones; the two groups always belong to it.
        settings: Lengths, prior and bars.
    """
    found: list[Trigger] = []
    shortest: dict[frozenset[int], int] = {}
    for size in range(1, settings.longest + 1):
        in_marked = _index(marked, size)
        in_other = _index(other, size)
        counts_marked = Counter({phrase: len(where) for phrase, where in in_marked.items()})
        counts_other = Counter({phrase: len(where) for phrase, where in in_other.items()})
        others = Counter(phrase for text in background for phrase in phrases(text, size))
        odds = log_odds(
            counts_marked,
            counts_other,
            counts_marked + counts_other + others,
            prior_weight=settings.prior_share * max(1, counts_marked.total() + counts_other.total()),
        )
        for phrase, where in in_marked.items():
            measured = odds[phrase]
            if len(where) < settings.min_count or measured.z < settings.min_z:
                continue
            if shortest.setdefault(where, size) == size:
                found.append(Trigger(phrase, len(where), counts_other[phrase], measured.delta, measured.z))
    ranked = sorted(found, key=lambda trigger: (-trigger.z, trigger.phrase))
    return ranked[: settings.max_triggers]


def _index(texts: Sequence[str], size: int) -> dict[str, frozenset[int]]:
    where: dict[str, set[int]] = {}
    for number, text in enumerate(texts):
        for phrase in phrases(text, size):
            where.setdefault(phrase, set()).add(number)
    return {phrase: frozenset(numbers) for phrase, numbers in where.items()}
