"""Typed errors of bulk scoring.

They must not know which processes do the scoring.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ratchet_adapters.errors import AdaptersError

__all__ = ["LogUnreadable", "OutputOfOtherJob", "RowInvalid", "ScoringError", "ScoringFailed"]


class ScoringError(AdaptersError):
    """Base of all errors of this subpackage."""


class LogUnreadable(ScoringError):
    """The file is not one that could be scored.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} can not be scored: {problem}. Give a JSONL or Parquet file with the fields prompt and completion, "
            "and optionally id."
        )
        self.path = path


class RowInvalid(ScoringError):
    """A row of the file does not have the schema.

    Attributes:
        path: The file.
        line: Of the row; the first is 1.
    """

    def __init__(self, path: Path, line: int, problem: str) -> None:
        super().__init__(
            f"{path}, line {line}: {problem}. Each row has the texts prompt and completion, optionally the text id, "
            "and nothing else. Nothing was scored; correct the file."
        )
        self.path = path
        self.line = line


class OutputOfOtherJob(ScoringError):
    """The output folder holds parts of another job.

    Attributes:
        folder: The output folder.
        what: What differs.
    """

    def __init__(self, folder: Path, what: Iterable[str]) -> None:
        self.folder = folder
        self.what = tuple(what)
        super().__init__(
            f"{folder} holds scores of another job (different: {', '.join(self.what)}). Use an empty folder."
        )


class ScoringFailed(ScoringError):
    """Rows could not be scored; the parts that are finished stay."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"Scoring stopped: {problem}. Start it again with the same output folder to continue.")
