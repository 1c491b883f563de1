"""Typed errors of the rails. Each message says what was wrong and what to do about it.

A rail that breaks while it judges is not an error here: it is a FAILED verdict.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "RailConfigError",
    "RailContractError",
    "RailScaffoldError",
    "RailsError",
    "ScorerOverloaded",
    "ScorerStopped",
    "UnknownProfile",
]


class RailsError(Exception):
    """Anything the rails package raises."""


class RailConfigError(RailsError):
    """A rail configuration that cannot be served as it is written.

    Attributes:
        file: The file (or folder) at fault.
        key: Dotted path of the key, empty if the whole file is meant.
        line: Line in the file, from 1; 0 if there is none.
        problem: What is wrong.
        remedy: What to do.
    """

    def __init__(self, file: Path, problem: str, remedy: str, *, key: str = "", line: int = 0) -> None:
        place = f"{file}:{line}" if line else str(file)
        super().__init__(f"{place}: {f'{key}: ' if key else ''}{problem} {remedy}")
        self.file, self.key, self.line, self.problem, self.remedy = file, key, line, problem, remedy


class RailContractError(RailsError):
    """The installed NeMo Guardrails is not the one this server was proven with. Start-up stops here.

    Attributes:
        expectation: What does not hold.
    """

    def __init__(self, expectation: str) -> None:
        super().__init__(
            f"NeMo Guardrails breaks the contract the rails rely on: {expectation} Install the pinned version "
            "(`pip install -r` the committed lock)."
        )
        self.expectation = expectation


class UnknownProfile(RailsError):
    """No rail profile of that name is loaded.

    Attributes:
        name: The name asked for.
    """

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"There is no rail profile {name!r}. There are: {', '.join(known) or 'none'}.")
        self.name = name


class RailScaffoldError(RailsError):
    """The package of a new rail cannot be written."""


class ScorerOverloaded(RailsError):
    """Too many texts wait for a scorer; the check that asked counts as failed."""


class ScorerStopped(RailsError):
    """The scorer pool was closed while a text waited in it."""
