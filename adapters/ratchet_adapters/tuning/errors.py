"""Typed errors of tuning.

They must not know how a trial is trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "ConstraintInvalid",
    "NoTrialFits",
    "SearchBusy",
    "SearchOfOther",
    "SpaceInvalid",
    "TuningError",
    "ValidationLeaks",
]


class TuningError(AdaptersError):
    """Base of all errors of this subpackage."""


class SpaceInvalid(TuningError):
    """A search space can not be used.

    Attributes:
        source: Its name or path.
    """

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(
            f"The search space {source} can not be used: {problem}. See the shipped spaces for the format."
        )
        self.source = source


class ConstraintInvalid(TuningError):
    """A constraint does not say what it should."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__(
            f"The constraint {text!r} can not be used: {problem}. Write for example 'over_refusal<=0.15', "
            "'nll_change<=0.05' or 'refusal>=0.9'."
        )
        self.text = text


class ValidationLeaks(TuningError):
    """Validation and something it must be kept apart from share an item.

    Attributes:
        what: The items.
    """

    def __init__(self, problem: str, what: Iterable[str]) -> None:
        self.what = tuple(what)
        super().__init__(
            f"The validation split {problem}: {', '.join(self.what[:5])}. A search on such a split would report "
            "numbers that mean nothing; correct the seed suites."
        )


class SearchOfOther(TuningError):
    """The output folder holds another search.

    Attributes:
        folder: The folder.
        what: What differs.
    """

    def __init__(self, folder: Path, what: Iterable[str]) -> None:
        self.folder = folder
        self.what = tuple(what)
        super().__init__(f"{folder} holds another search (different: {', '.join(self.what)}). Use an empty folder.")


class SearchBusy(TuningError):
    """Another process searches in this folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"Another process searches in {folder}. Wait for it, or end it and try again.")
        self.folder = folder


class NoTrialFits(TuningError):
    """No finished trial satisfies the constraints, or none is finished."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"No recipe was chosen: {problem}. Loosen the constraint, or allow more trials.")
