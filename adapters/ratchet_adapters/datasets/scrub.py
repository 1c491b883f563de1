"""Removes from a prompt what a lesson does not need: personal data, secrets, links, code blocks, control tokens.

It must not judge the prompt. What is removed leaves a placeholder or a neutral word, so that the sentence stays one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from types import MappingProxyType

from ratchet_plugins.pii.recognisers import REGIONS, PiiKind, Scrubbed, scrub_pii

__all__ = ["scrub", "scrubbed"]

_FENCE = re.compile(r"(```|~~~).*?(\1|\Z)", re.DOTALL)
_URL = re.compile(r"\b(?:(?:https?|ftp)://|www\.)[^\s<>\"')\]]+", re.IGNORECASE)
_SPACE = re.compile(r"[ \t]+")
_CONTROL = frozenset({"Cc", "Cf", "Co", "Cs"})
_MARKUP = re.compile(r"<\|[^|>]{0,40}\|>")


def scrub(prompt: str, regions: Sequence[str] = REGIONS) -> str:
    """Return the text of `scrubbed`."""
    return scrubbed(prompt, regions).text


def scrubbed(prompt: str, regions: Sequence[str] = REGIONS) -> Scrubbed:
    """Return the prompt without personal data, secrets, URLs, code fences and chat control tokens, and what was found.

    Args:
        prompt: As it was asked.
        regions: Countries whose national phone numbers are looked for.

    Returns:
        The prompt in NFKC form, empty when nothing is left; scrubbing it again changes nothing.
    """
    text, found = prompt, Counter[str]()
    # What is removed can leave a new entity, link or fence behind, made of its neighbours.
    while True:
        result = scrub_pii(_plain(text), regions)
        found.update(result.found)
        if result.text == text:
            return Scrubbed(text, MappingProxyType(dict(sorted(found.items()))))
        text = result.text


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _CONTROL)
    text = _FENCE.sub(" ", text)
    # Removing one control token can make another out of its neighbours.
    while (cleaned := _MARKUP.sub(" ", text)) != text:
        text = cleaned
    text = _URL.sub(_link, text)
    lines = (_SPACE.sub(" ", line).strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _link(match: re.Match[str]) -> str:
    # One with a name and password in it is counted as such; any other link is only a way out of the lesson.
    return match.group() if PiiKind.CREDENTIALS in scrub_pii(match.group()).found else "a link"
