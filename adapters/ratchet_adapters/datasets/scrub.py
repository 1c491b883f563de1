"""Removes from a prompt what a lesson does not need: addresses, numbers of people, code blocks.

It must not judge the prompt. What is removed leaves a neutral word, so that the sentence stays a sentence.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["scrub"]

_FENCE = re.compile(r"(```|~~~).*?(\1|\Z)", re.DOTALL)
_URL = re.compile(r"\b(?:(?:https?|ftp)://|www\.)[^\s<>\"')\]]+", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# At least seven digits with the usual separators; the look-arounds keep longer numbers and dates like 2024 whole.
_PHONE = re.compile(r"(?<![\w.])\+?\(?\d(?:[\s().\-/]{0,2}\d){6,14}(?!\w)")
_SPACE = re.compile(r"[ \t]+")
_CONTROL = frozenset({"Cc", "Cf", "Co", "Cs"})
_MARKUP = re.compile(r"<\|[^|>]{0,40}\|>")


def scrub(prompt: str) -> str:
    """Return the prompt without URLs, e-mail addresses, phone numbers, code fences and chat control tokens.

    Args:
        prompt: As it was asked.

    Returns:
        The prompt in NFKC form; empty when nothing is left.
    """
    text = unicodedata.normalize("NFKC", prompt)
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _CONTROL)
    text = _FENCE.sub(" ", text)
    # Removing one control token can make another out of its neighbours.
    while (cleaned := _MARKUP.sub(" ", text)) != text:
        text = cleaned
    text = _EMAIL.sub("an e-mail address", text)
    text = _URL.sub("a link", text)
    text = _PHONE.sub("a phone number", text)
    lines = (_SPACE.sub(" ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)
