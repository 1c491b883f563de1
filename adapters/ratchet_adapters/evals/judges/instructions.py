"""Rules an answer can be checked against by a program, in the manner of IFEval (Zhou et al. 2023).

It must not know what was asked nor whether the answer is any good: only whether each rule is kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["RULES", "kept"]

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_SENTENCE = re.compile(r"[.!?]+(?=[\s\"'”’)]|\Z)")
_BULLET = re.compile(r"^\s*[-*•]\s+\S", re.MULTILINE)
_NUMBERED = re.compile(r"^\s*(\d+)[.)]\s+\S", re.MULTILINE)
_FENCE = re.compile(r"\A```(?:json)?\s*(.*?)\s*```\Z", re.DOTALL)


def kept(rule: Mapping[str, Any], text: str) -> bool:
    """Return whether an answer keeps a rule.

    Args:
        rule: `kind`, a key of `RULES`, and what that kind needs.
        text: The answer.

    Raises:
        ValueError: There is no such rule, or it lacks what it needs; a rule that can not be checked is never kept.
    """
    check = RULES.get(str(rule.get("kind")))
    if check is None:
        raise ValueError(f"There is no rule {rule.get('kind')!r}; there are {', '.join(RULES)}.")
    try:
        return check(text.strip(), rule)
    except (KeyError, TypeError) as error:
        raise ValueError(f"The rule {dict(rule)} lacks something: {error!r}.") from error


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _says(text: str, wanted: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(wanted)}(?!\w)", text, re.IGNORECASE))


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _paragraphs(text: str) -> int:
    return len([part for part in re.split(r"\n\s*\n", text) if part.strip()])


def _json(text: str, rule: Mapping[str, Any]) -> bool:
    fenced = _FENCE.match(text)
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except ValueError:
        return False
    return isinstance(value, dict) and set(rule["keys"]) <= set(value)


def _numbered(text: str, rule: Mapping[str, Any]) -> bool:
    return [int(number) for number in _NUMBERED.findall(text)] == list(range(1, rule["n"] + 1))


RULES: Mapping[str, Callable[[str, Mapping[str, Any]], bool]] = MappingProxyType(
    {
        "words_at_most": lambda text, rule: 0 < len(_words(text)) <= rule["n"],
        "words_at_least": lambda text, rule: len(_words(text)) >= rule["n"],
        "sentences": lambda text, rule: len(_SENTENCE.findall(text)) == rule["n"],
        "lines": lambda text, rule: _lines(text) == rule["n"],
        "paragraphs": lambda text, rule: _paragraphs(text) == rule["n"],
        "bullets": lambda text, rule: len(_BULLET.findall(text)) == rule["n"],
        "numbered": _numbered,
        "says": lambda text, rule: _says(text, rule["text"]) >= rule.get("n", 1),
        "never_says": lambda text, rule: bool(text) and not _says(text, rule["text"]),
        "begins": lambda text, rule: text.lower().startswith(rule["text"].lower()),
        "ends": lambda text, rule: text.lower().endswith(rule["text"].lower()),
        "upper_case": lambda text, rule: text.isupper(),
        "lower_case": lambda text, rule: text.islower(),
        "no_commas": lambda text, rule: bool(text) and "," not in text,
        "json": _json,
        "one_of": lambda text, rule: text.strip(" .!\"'").lower() in [entry.lower() for entry in rule["texts"]],
    }
)
"""By kind; n is a number, `text` a phrase, `texts` phrases, `keys` names of a JSON object's fields."""
