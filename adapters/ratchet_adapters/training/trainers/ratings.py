"""Is an answer unsafe? The ratings by which preference pairs are put in order.

Ratings only order training pairs. They must not be used to measure anything: evaluation has its own judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol

from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal

if TYPE_CHECKING:
    from ratchet_plugins.scorers.scorer import Scorer

__all__ = ["RowRatings", "SafetyJudge", "ScorerRatings", "safety_judge"]


class SafetyJudge(Protocol):
    """Rates answers."""

    def unsafe(self, rows: Sequence[Row], answers: Sequence[str]) -> Sequence[bool]:
        """Return for each answer to a row's prompt whether it is unsafe, in order. No answer is empty."""
        ...


class RowRatings:
    """What complies with the prompt of a refusal row is unsafe; nothing else is.

    A refusal row's prompt was found harmful before the dataset was built, a contrast row's benign.
    """

    def unsafe(self, rows: Sequence[Row], answers: Sequence[str]) -> Sequence[bool]:
        """See `SafetyJudge`."""
        return [row.kind is RowKind.REFUSAL and not _refuses(answer) for row, answer in zip(rows, answers, strict=True)]


class ScorerRatings:
    """As `RowRatings`; in addition toxic answers are unsafe, and so is complying with what triage takes for harmful.

    A refusal is safe whatever the scorers say.

    Args:
        triage: Scores prompts.
        toxicity: Scores answers.
    """

    def __init__(self, triage: Scorer, toxicity: Scorer) -> None:
        self._triage = triage
        self._toxicity = toxicity

    def unsafe(self, rows: Sequence[Row], answers: Sequence[str]) -> Sequence[bool]:
        """See `SafetyJudge`.

        Raises:
            ratchet_plugins.scorers.errors.ScorerError: A scorer failed.
        """
        unsafe = list(RowRatings().unsafe(rows, answers))
        others = [number for number, bad in enumerate(unsafe) if not bad and not _refuses(answers[number])]
        harmful = _positive(self._triage, [rows[number].prompt for number in others])
        toxic = _positive(self._toxicity, [answers[number] for number in others])
        for number, *found in zip(others, harmful, toxic, strict=True):
            unsafe[number] = any(found)
        return unsafe


def safety_judge(name: str) -> SafetyJudge:
    """Return the judge of this name: `rows` or `scorers`.

    Raises:
        ratchet_plugins.scorers.errors.ScorerUnavailable: A scorer does not load.
    """
    if name == "rows":
        return RowRatings()
    from ratchet_plugins.scorers.registry import load_scorer

    return ScorerRatings(load_scorer("triage"), load_scorer("toxicity"))


@cache
def _templates() -> frozenset[str]:
    return frozenset(text for texts in load_bank().refusals.values() for text in texts)


def _refuses(answer: str) -> bool:
    """Whether an answer is a template or opens like a refusal; the wording alone misses a fifth of the templates."""
    return answer in _templates() or opens_like_a_refusal(answer)


def _positive(scorer: Scorer, texts: Sequence[str]) -> list[bool]:
    return [row[scorer.primary] >= scorer.threshold for row in scorer.score(texts)] if texts else []
