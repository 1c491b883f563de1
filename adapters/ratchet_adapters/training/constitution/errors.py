"""Typed errors of constitutional revision.

They must not know what is trained on the revisions.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ratchet_adapters.training.errors import TrainingError

__all__ = [
    "ConstitutionInvalid",
    "CriticAnswerInvalid",
    "CriticRefused",
    "CriticUnavailable",
    "NotRevised",
    "RevisionJudgeInvalid",
]


class ConstitutionInvalid(TrainingError):
    """A file of principles can not be used.

    Attributes:
        file: Its path, or the shipped file's name.
        problems: One sentence each.
    """

    def __init__(self, file: str, problems: Iterable[str]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__(
            f"{file} is no constitution: {'; '.join(self.problems)}. Compare it with the shipped principles.yaml."
        )


class _CriticError(TrainingError):
    """A critic did not do its work.

    Attributes:
        address: Where it is.
        why: What happened; never a key.
    """

    what, advice = "failed", ""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"The critic at {address} {self.what}: {why}. {self.advice}")
        self.address = address
        self.why = why


class CriticUnavailable(_CriticError):
    """A critic could not be reached, or was too busy or too slow for too long."""

    what, advice = "is not available", "Start it, or raise timeout_s; what it answered is kept, so try again."


class CriticRefused(_CriticError):
    """A critic did not accept a request."""

    what, advice = "refused the request", "Check its URL, its model's name and the key."


class CriticAnswerInvalid(_CriticError):
    """A critic's reply is not what was asked for."""

    what, advice = "sent a reply that can not be used", "Check that the address is that of a chat model."


class RevisionJudgeInvalid(TrainingError):
    """The judge of revisions did not rate every answer."""

    def __init__(self, asked: int, rated: int) -> None:
        super().__init__(f"The judge of revisions rated {rated} of {asked} answers. It must rate each, in order.")
        self.asked = asked
        self.rated = rated


class NotRevised(TrainingError):
    """A dataset that was to be revised by a constitution was not, or nearly nothing of it was kept.

    Attributes:
        folder: The dataset.
        kept: Revisions in it.
    """

    def __init__(self, folder: Path, kept: int, least: int) -> None:
        super().__init__(
            f"{folder} holds {kept} revised answers, and {least} are needed. Build it with a constitution and a "
            "critic; its manifest says why revisions were left out."
        )
        self.folder = folder
        self.kept = kept
