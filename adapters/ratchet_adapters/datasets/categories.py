"""Which category of harm a prompt belongs to, by its nearest seed prompts.

It must not decide whether a prompt is harmful: a reviewer did.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ratchet_adapters.datasets.bank import GENERAL
from ratchet_adapters.datasets.near_duplicates import Embed, normal_form
from ratchet_adapters.datasets.seed import SeedPrompt

__all__ = ["categories"]

_NEIGHBOURS = 5
_STOP = frozenset(
    {
        "a",
        "about",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "by",
        "can",
        "create",
        "develop",
        "do",
        "does",
        "explain",
        "for",
        "from",
        "get",
        "give",
        "how",
        "i",
        "in",
        "instructions",
        "into",
        "is",
        "it",
        "make",
        "me",
        "my",
        "of",
        "on",
        "or",
        "people",
        "please",
        "provide",
        "somebody",
        "someone",
        "step",
        "steps",
        "tell",
        "that",
        "the",
        "their",
        "them",
        "they",
        "this",
        "to",
        "tutorial",
        "was",
        "way",
        "what",
        "which",
        "who",
        "will",
        "with",
        "without",
        "write",
        "you",
        "your",
    }
)


def categories(
    prompts: Sequence[str], known: Sequence[SeedPrompt], *, embed: Embed | None, least_similarity: float
) -> list[str]:
    """Return a category per prompt: the vote of its five nearest known prompts, or "general".

    Args:
        prompts: To place.
        known: Prompts whose category is known.
        embed: Texts to unit vectors; without it, similarity is the overlap of content words.
        least_similarity: The nearest must be at least this similar (cosine, or overlap coefficient of words).
    """
    if not prompts or not known:
        return [GENERAL] * len(prompts)
    if embed is not None:
        rows = (embed(list(prompts)) @ embed([k.prompt for k in known]).T).tolist()
    else:
        bags = [_content_words(k.prompt) for k in known]
        rows = [[_overlap(_content_words(prompt), bag) for bag in bags] for prompt in prompts]
    return [_vote(row, known, least_similarity) for row in rows]


def _vote(similarities: Sequence[float], known: Sequence[SeedPrompt], least: float) -> str:
    order = sorted(range(len(known)), key=lambda i: (-similarities[i], known[i].id))[:_NEIGHBOURS]
    if similarities[order[0]] < least:
        return GENERAL
    votes: defaultdict[str, float] = defaultdict(float)
    for index in order:
        votes[known[index].category] += similarities[index]
    return min(votes, key=lambda category: (-votes[category], category))


def _content_words(text: str) -> frozenset[str]:
    return frozenset(word for word in normal_form(text).split() if word not in _STOP)


def _overlap(left: frozenset[str], right: frozenset[str]) -> float:
    smaller = min(len(left), len(right))
    return len(left & right) / smaller if smaller else 0.0
