"""Was the task done? The final number of a worked answer, or rules that a program checks.

It must not ask a model: what is judged here is right or wrong beyond dispute, given the item's own answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from ratchet_adapters.evals.judges import instructions
from ratchet_adapters.evals.judges.judge import Answer, Judgement

__all__ = ["TaskJudge", "final_number"]

_NUMBER = re.compile(r"[-−]?\$?\d[\d,]*(?:\.\d+)?|[-−]?\$?\.\d+")
_SAID = re.compile(r"####|\banswer\b[^.\n\d]{0,40}?(?:\bis\b|:|=)", re.IGNORECASE)


class TaskJudge:
    """Checks each answer against what its item holds: `number`, or `rules`."""

    name = "task"

    @property
    def version(self) -> str:
        """Changes with the code of the checks."""
        code = b"".join(Path(str(file)).read_bytes() for file in (__file__, instructions.__file__))
        return f"sha256:{hashlib.sha256(code).hexdigest()}"

    def judge(self, answers: Sequence[Answer]) -> list[Judgement]:
        """Judge answers; see `Judge`. `value` is 1 when everything is right; `rules` is the share of rules kept.

        Raises:
            ValueError: An item holds nothing to check, or a rule that can not be checked.
        """
        return [_checked(answer.text, answer.extra) for answer in answers]


def final_number(text: str) -> Decimal | None:
    """Return the number an answer ends on: the first after the last "the answer is" or "####", else the last of all.

    Thousands separators and currency signs do not count; None when there is no number.
    """
    stated = list(_SAID.finditer(text))
    found = _NUMBER.findall(text[stated[-1].end() :])[:1] if stated else []
    found = found or _NUMBER.findall(text)[-1:]
    return _decimal(found[0]) if found else None


def _checked(text: str, extra: Mapping[str, Any]) -> Judgement:
    if "number" in extra:
        wanted = _decimal(str(extra["number"]))
        if wanted is None:
            raise ValueError(f"{extra['number']!r} is no number.")
        right = final_number(text) == wanted
        return Judgement(float(right), "right" if right else "wrong")
    rules = extra.get("rules")
    if not rules:
        raise ValueError("An item of the task axis needs `number` or `rules`.")
    held = [instructions.kept(rule, text) for rule in rules]
    return Judgement(float(all(held)), "right" if all(held) else "wrong", {"rules": sum(held) / len(held)})


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace("$", "").replace(",", "").replace("−", "-").strip())
    except InvalidOperation:
        return None
