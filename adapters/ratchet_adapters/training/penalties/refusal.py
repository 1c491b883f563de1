"""`refusal`: how likely an answer declines its request; for openings that ought to be answered.

It must not know the prompt: the scorer reads answers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratchet_plugins.scorers.errors import ScorerUnavailable
from ratchet_plugins.scorers.registry import load_scorer

__all__ = ["RefusalPenalty"]


class RefusalPenalty:
    """The refusal scorer's probability of a full refusal.

    Args:
        scorer: Name of a scorer: built in, or from the group ratchet.scorers; its primary label counts.
        settings: For the scorer.

    Raises:
        ValueError: There is no such scorer, or it refuses the settings.
    """

    def __init__(self, scorer: str = "refusal", **settings: Any) -> None:
        try:
            self._scorer = load_scorer(scorer, **settings)
        except ScorerUnavailable as error:
            raise ValueError(str(error)) from error

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return one penalty per completion."""
        return [row[self._scorer.primary] for row in self._scorer.score(completions)]
