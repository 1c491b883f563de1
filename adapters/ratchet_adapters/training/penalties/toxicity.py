"""`toxicity`: hostile or hateful wording, by a scorer that gives Detoxify's labels.

It must not be used against harmful content in polite words: it does not see that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratchet_plugins.scorers.errors import ScorerUnavailable
from ratchet_plugins.scorers.registry import load_scorer

__all__ = ["LABELS", "ToxicityPenalty"]

LABELS = ("toxicity", "severe_toxicity", "threat", "insult", "identity_attack")
"""Detoxify's labels without `obscene`: swearing alone is no attack on anybody, and `toxicity` rises with it anyway."""


class ToxicityPenalty:
    """The highest of some labels, scored on the completion alone. A completion without a word in it costs nothing.

    Args:
        labels: Of the scorer; the highest counts.
        scorer: Name of a scorer: built in, or from the group ratchet.scorers.
        settings: For the scorer, e.g. `model="unbiased"`.

    Raises:
        ValueError: There is no such scorer, it refuses the settings, or it has no such label.
    """

    def __init__(self, labels: Sequence[str] = LABELS, scorer: str = "toxicity", **settings: Any) -> None:
        try:
            self._scorer = load_scorer(scorer, **settings)
            known = self._scorer.labels
        except ScorerUnavailable as error:
            raise ValueError(str(error)) from error
        self._labels = (labels,) if isinstance(labels, str) else tuple(labels)
        unknown = set(self._labels) - set(known)
        if unknown or not self._labels:
            raise ValueError(f"labels {sorted(unknown)} are none of the scorer's: {', '.join(known)}")

    def __call__(self, prompts: Sequence[str], completions: Sequence[str]) -> list[float]:
        """Return one penalty per completion."""
        spoken = [number for number, text in enumerate(completions) if text.strip()]
        scores = self._scorer.score([completions[number] for number in spoken])
        found = [0.0] * len(completions)
        for number, row in zip(spoken, scores, strict=True):
            found[number] = max(row[label] for label in self._labels)
        return found
