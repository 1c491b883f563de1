"""`pattern`: answers that say what they must not, or leave out what they must say, e.g. a required disclaimer.

It must not know meaning: RE2 patterns on the answer's text, in linear time whatever the pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import re2

__all__ = ["PatternPenalty"]


class PatternPenalty:
    """The share of the patterns that an answer breaks.

    A share rather than yes or no: an answer that breaks one rule of three is better than one that breaks all.

    Args:
        forbidden: Patterns that must not be found anywhere in an answer.
        required: Patterns that must be found somewhere in it.
        case_sensitive: Whether `A` differs from `a`.

    Raises:
        ValueError: There is no pattern, or RE2 refuses one.
    """

    def __init__(
        self, forbidden: Sequence[str] = (), required: Sequence[str] = (), case_sensitive: bool = False
    ) -> None:
        options = re2.Options()
        options.log_errors = False
        options.case_sensitive = bool(case_sensitive)
        rules = [(pattern, True) for pattern in _several(forbidden)]
        rules += [(pattern, False) for pattern in _several(required)]
        if not rules:
            raise ValueError("neither a forbidden nor a required pattern was given")
        self._rules = [(_compiled(pattern, options), broken_by_match) for pattern, broken_by_match in rules]

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return one penalty per completion."""
        return [
            sum((rule.search(text) is not None) == broken_by_match for rule, broken_by_match in self._rules)
            / len(self._rules)
            for text in completions
        ]


def _several(patterns: Sequence[str]) -> Sequence[str]:
    return (patterns,) if isinstance(patterns, str) else patterns


def _compiled(pattern: str, options: Any) -> Any:
    if not pattern:
        raise ValueError("an empty pattern matches every answer")
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0] if error.args else error
        raise ValueError(
            f"RE2 refuses the pattern {pattern!r}: {detail.decode() if isinstance(detail, bytes) else detail}"
        ) from error
