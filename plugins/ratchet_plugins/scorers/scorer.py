"""The port every scorer implements, and the checks all of them share.

It must not know any particular scorer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from ratchet_plugins.scorers.errors import ScorerError

__all__ = ["Scorer", "checked"]


@runtime_checkable
class Scorer(Protocol):
    """Gives every text one number in [0, 1] per label. Synchronous, batched, and safe to call from many threads."""

    @property
    def name(self) -> str:
        """The name it is configured and reported by."""

    @property
    def version(self) -> str:
        """Digest of everything that determines a score: weights and thresholds. Equal versions score equally."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The keys of every result."""

    @property
    def primary(self) -> str:
        """The label that stands for the whole scorer."""

    @property
    def threshold(self) -> float:
        """The value of the primary label from which on a text counts as positive."""

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Score texts.

        Args:
            texts: Any number of texts; long ones are cut.

        Returns:
            One dict per text, in order, with every label and values in [0, 1].

        Raises:
            ScorerError: Anything failed. A failing scorer never invents a score.
        """
        ...


def checked(
    name: str, labels: Sequence[str], texts: Sequence[str], scores: list[dict[str, float]]
) -> list[dict[str, float]]:
    """Return `scores` when they keep the port's promise.

    Raises:
        ScorerError: A result is missing, lacks a label, or holds a value outside [0, 1] (NaN included).
    """
    if len(scores) != len(texts):
        raise ScorerError(f"Scorer {name!r} returned {len(scores)} results for {len(texts)} texts: a bug in it.")
    for row in scores:
        for label in labels:
            value = row.get(label, math.nan)
            if not 0.0 <= value <= 1.0:
                raise ScorerError(
                    f"Scorer {name!r} gave {label}={value}, which is no number in [0, 1]. Its weights are damaged: "
                    "reinstall ratchet and run `ratchet models prepare --force`."
                )
    return scores
