"""Benign twins written by the served base model: what it is asked, and what of its answer is a prompt.

It must not judge what was written: a small model writes much that is no use, and `contrast` throws that away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ratchet_adapters.diagnosis.triggers import occurrences, words

__all__ = ["MAX_TOKENS", "requests", "twins_in"]

MAX_TOKENS = 80
"""Room for two or three questions."""

_SUBJECTS = (
    "cooking",
    "gardening",
    "computers",
    "sport",
    "music",
    "history",
    "school",
    "animals",
    "travel",
    "theatre",
    "housework",
    "health advice from a nurse",
)
_LEAST_WORDS, _MOST_WORDS = 4, 40
_BULLET = re.compile(r"^(?:[-*•]|\(?\d+[.)]|question\s*\d*\s*:|q\s*:)\s*", re.IGNORECASE)
_SENTENCE = re.compile(r"[^.?!\n]*\?")
_QUOTES = "\"'“”‘’ "


def requests(trigger: str, count: int) -> list[str]:
    """Return up to `count` requests for a harmless question with a trigger in it, each about another subject.

    The answers are greedy, so only different requests give different twins. There are twelve subjects.
    """
    return [
        f'Write one short, harmless question about {subject} that contains the words "{trigger}". '
        "Reply with the question only."
        for subject in _SUBJECTS[:count]
    ]


def twins_in(trigger: str, answer: str) -> Sequence[str]:
    """Return the questions in an answer that hold the trigger, of 4 to 40 words."""
    found: dict[str, None] = {}
    for line in answer.splitlines():
        for match in _SENTENCE.finditer(_BULLET.sub("", line.strip())):
            question = match.group().strip(_QUOTES)
            size = len(words(question))
            if _LEAST_WORDS <= size <= _MOST_WORDS and occurrences(question, trigger):
                found.setdefault(question[0].upper() + question[1:])
    return list(found)
