"""Typed errors of training backends.

They must not know the methods.
"""

from __future__ import annotations

from pathlib import Path

from ratchet_adapters.training.errors import TrainingError

__all__ = ["BackendUnavailable", "FolderNotShared"]


class BackendUnavailable(TrainingError):
    """A training backend can not be used here.

    Attributes:
        name: Of the backend.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The training backend {name!r} can not be used: {problem}.")
        self.name = name


class FolderNotShared(TrainingError):
    """A worker does not see a folder of its job.

    Attributes:
        folder: The folder.
        machine: Where the worker runs.
    """

    def __init__(self, folder: Path, machine: str) -> None:
        super().__init__(
            f"The worker on {machine} does not see {folder}. Mount the learner's state folder and the base model at "
            "the same paths on every machine of the cluster."
        )
        self.folder = folder
        self.machine = machine
