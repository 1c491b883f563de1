"""Typed errors of dataset building.

They must not know how they are shown on the wire or on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ratchet_adapters.errors import AdaptersError

__all__ = ["AnswersMissing", "BankInvalid", "DatasetError", "DatasetInvalid", "TooFewRows"]


class DatasetError(AdaptersError):
    """Base of all errors of this subpackage."""


class TooFewRows(DatasetError):
    """After selection, hygiene and bounds there is not enough left to train on.

    Attributes:
        kind: The kind of row that is missing.
        have: Rows that were left.
        need: Rows the settings ask for.
        dropped: Reason to number of prompts dropped for it.
    """

    def __init__(self, kind: str, have: int, need: int, dropped: Mapping[str, int]) -> None:
        why = ", ".join(f"{reason}: {count}" for reason, count in sorted(dropped.items()) if count) or "nothing"
        super().__init__(
            f"The dataset would hold {have} {kind} rows and needs at least {need} (dropped: {why}). "
            "Review and accept more flags, or lower the minimum in the dataset settings."
        )
        self.kind = kind
        self.have = have
        self.need = need
        self.dropped = dict(dropped)


class AnswersMissing(DatasetError):
    """The base model returned a different number of answers than it was asked for."""

    def __init__(self, asked: int, got: int) -> None:
        super().__init__(
            f"The base model was asked {asked} prompts and returned {got} answers. "
            "The `answers` callable must return one text per prompt, in order."
        )
        self.asked = asked
        self.got = got


class BankInvalid(DatasetError):
    """A refusal template bank file can not be used."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"Refusal template bank {name!r}: {why}. Correct the file under training/templates.")
        self.name = name
        self.why = why


class DatasetInvalid(DatasetError):
    """A dataset folder is incomplete, or its rows are not the ones its manifest names."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder} holds no valid dataset: {why}. Build the dataset again.")
        self.folder = folder
        self.why = why
