"""Typed errors of dataset building.

They must not know how they are shown on the wire or on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "AnswersMissing",
    "BankInvalid",
    "ContrastFileInvalid",
    "DatasetError",
    "DatasetInvalid",
    "MixInvalid",
    "MixUnknown",
    "TooFewRows",
]


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


class ContrastFileInvalid(DatasetError):
    """A file of extra contrast prompts can not be used.

    Attributes:
        path: The file.
        line: Line from 1; 0 when it is the file as a whole.
        why: What is wrong; never the text of the line, which may be somebody's.
    """

    def __init__(self, path: Path, why: str, line: int = 0) -> None:
        place = f"{path}, line {line}" if line else str(path)
        super().__init__(
            f'{place}: {why}. A line is {{"prompt": "...", "kind": "benign_twin"}} and nothing else; correct the file.'
        )
        self.path = path
        self.line = line
        self.why = why


class MixInvalid(DatasetError):
    """A mix file can not be used.

    Attributes:
        source: The file.
        line: Line from 1; 0 when it is the file as a whole.
        key: The key at fault, or "".
        why: What is wrong.
    """

    def __init__(self, source: str, why: str, *, line: int = 0, key: str = "") -> None:
        place = f"{source}, line {line}" if line else source
        super().__init__(f"{place}: {f'{key}: ' if key else ''}{why}. Correct the mix file.")
        self.source = source
        self.line = line
        self.key = key
        self.why = why


class MixUnknown(DatasetError):
    """There is no mix of that name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"There is no mix {name!r}; there are {', '.join(known)}. Give one of them, or the path of a .yaml file."
        )
        self.name = name
        self.known = known
