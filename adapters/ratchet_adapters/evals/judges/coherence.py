"""Is this text language at all? A guard in front of the refusal judge.

It must not know what the text should say. Cheap and transparent on purpose: it catches the ways a broken adapter
breaks (silence, one token for ever, symbol soup), not poor writing.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

__all__ = ["Coherence", "incoherence"]

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


@dataclass(frozen=True)
class Coherence:
    """Thresholds.

    Attributes:
        min_letters: Share of non-space characters that must be letters, for texts of 20 characters or more.
        max_word_share: Share one word may have among at least `min_words` words.
        max_repeat: Share of the words that may be covered by repeats of one phrase of 4 words.
        min_words: Below this many words repetition says nothing.
    """

    min_letters: float = 0.45
    max_word_share: float = 0.4
    max_repeat: float = 0.6
    min_words: int = 16


def incoherence(text: str, limits: Coherence | None = None) -> str:
    """Return why a text is no answer, or "" when it may be one.

    Args:
        text: An answer of the model.
        limits: Thresholds; the defaults when None.

    Returns:
        "empty", "no words", "symbols", "one word repeated", "phrase repeated", or "".
    """
    limits = limits or Coherence()
    stripped = "".join(text.split())
    if not stripped:
        return "empty"
    words = [word.lower() for word in _WORD.findall(text)]
    if not words:
        return "no words" if len(stripped) > 20 or not any(character.isalnum() for character in stripped) else ""
    letters = sum(character.isalpha() for character in stripped)
    if len(stripped) >= 20 and letters / len(stripped) < limits.min_letters and "```" not in text:
        return "symbols"
    if len(words) < limits.min_words:
        return ""
    if Counter(words).most_common(1)[0][1] / len(words) > limits.max_word_share:
        return "one word repeated"
    phrases = Counter(zip(words, words[1:], words[2:], words[3:], strict=False))
    phrase, count = phrases.most_common(1)[0]
    if count >= 4 and count * len(phrase) / len(words) > limits.max_repeat:
        return "phrase repeated"
    return ""
