"""Typed errors of training.

They must not know who started the training.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "AdaptersNotCombinable",
    "BatchNotShared",
    "InputAdapterMissing",
    "LossTermOptionsInvalid",
    "LossTermUnknown",
    "MethodUnknown",
    "NotEnoughMemory",
    "NothingToTrain",
    "PluginOptionsInvalid",
    "PluginUnknown",
    "PromptsMissing",
    "RankOverflow",
    "TermRowsMissing",
    "TrainingCancelled",
    "TrainingCrashed",
    "TrainingDiverged",
    "TrainingError",
    "TrainingFailed",
    "TrainingStalled",
    "WorkFolderBusy",
    "WorkFolderMismatch",
    "WorkersDisagree",
]


class TrainingError(AdaptersError):
    """Base of all errors of this subpackage."""


class MethodUnknown(TrainingError):
    """No training method has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known))
        super().__init__(f"There is no training method {name!r}. Known methods: {names}.")
        self.name = name


class PluginUnknown(TrainingError):
    """Nothing of this kind has this name."""

    what = "plugin"
    group = ""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        names = ", ".join(sorted(known)) or "none"
        super().__init__(
            f"There is no {self.what} {name!r}. Known: {names}. Packages add one with an entry point of the group "
            f"{self.group}."
        )
        self.name = name


class PluginOptionsInvalid(TrainingError):
    """It does not take these options."""

    what = "plugin"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The {self.what} {name!r} does not take these options: {problem}. See its docstring.")
        self.name = name


class LossTermUnknown(PluginUnknown):
    """No loss term has this name."""

    what, group = "loss term", "ratchet.loss_terms"


class LossTermOptionsInvalid(PluginOptionsInvalid):
    """A loss term does not take the options it was given."""

    what = "loss term"


class NotEnoughMemory(TrainingError):
    """The training would not fit into memory.

    Attributes:
        needed: Estimated bytes.
        available: Bytes.
    """

    def __init__(self, needed: int, available: int) -> None:
        super().__init__(
            f"This training needs about {needed / 2**30:.1f} GiB and {available / 2**30:.1f} GiB are free. Lower "
            "batch_size, raise accumulate, or use precision=bf16."
        )
        self.needed = needed
        self.available = available


class NothingToTrain(TrainingError):
    """The dataset has no train rows that fit into the length limits."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} has no rows to train on. Check the counts in its manifest, or raise prompt_tokens in the "
            "settings."
        )
        self.folder = folder


class TrainingDiverged(TrainingError):
    """The loss stopped being a number.

    Attributes:
        step: The optimiser step at which it did.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"The loss was not finite at step {step}. Lower learning_rate, or use precision=fp32.")
        self.step = step


class TrainingCrashed(TrainingError):
    """The training process ended without a result.

    Attributes:
        exit_code: Of the process; negative for a signal.
        log: The end of what it wrote to standard error.
    """

    def __init__(self, exit_code: int | None, log: str) -> None:
        how = f"signal {-exit_code}" if exit_code is not None and exit_code < 0 else f"exit code {exit_code}"
        advice = " It was probably out of memory: lower batch_size." if exit_code == -9 else ""
        last = log.strip()
        super().__init__(
            f"The training process ended with {how} and no result.{advice} Starting it again with the same work folder "
            f"continues from the last checkpoint." + (f" Its last words:\n{last}" if last else "")
        )
        self.exit_code = exit_code
        self.log = log


class WorkFolderMismatch(TrainingError):
    """The work folder holds checkpoints of another job.

    Attributes:
        folder: The work folder.
        what: Which parts of the job differ.
    """

    def __init__(self, folder: Path, what: Iterable[str]) -> None:
        self.folder = folder
        self.what = tuple(what)
        super().__init__(
            f"{folder} holds the work of another training job (different: {', '.join(self.what)}). "
            "Use an empty work folder."
        )


class WorkFolderBusy(TrainingError):
    """Another process trains in this work folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(f"Another process is training in {folder}. Wait for it, or end it and try again.")


class TrainingCancelled(TrainingError):
    """Training was stopped on request; its checkpoints are kept."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        super().__init__(f"Training was cancelled after {steps} steps. Start it again to continue.")


class TrainingStalled(TrainingError):
    """No step was finished for too long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(
            f"Training made no progress for {seconds:.0f} s and was ended. Give it more threads or raise "
            "stall_seconds; it continues from its last checkpoint."
        )


class TrainingFailed(TrainingError):
    """The training process reported a typed error.

    Attributes:
        error: Name of the error's class.
        message: What it said.
    """

    def __init__(self, error: str, message: str) -> None:
        self.error = error
        self.message = message
        super().__init__(f"{error}: {message}")


class PromptsMissing(TrainingError):
    """A policy is to be trained on both harmful and benign prompts, and one of the two is missing.

    Attributes:
        kind: "harmful" or "benign".
    """

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(
            f"{folder} has no {kind} prompt that fits into prompt_tokens. A policy that sees one kind alone learns to "
            "refuse everything, or nothing: add rows, raise prompt_tokens, or change benign_share."
        )
        self.kind = kind


class TermRowsMissing(TrainingError):
    """The dataset has no row that a loss term could use.

    Attributes:
        name: Of the term.
    """

    def __init__(self, name: str, needed: str) -> None:
        super().__init__(
            f"The loss term {name!r} needs {needed}, and the dataset has none. Add such rows, or leave the term out."
        )
        self.name = name


class WorkersDisagree(TrainingError):
    """The workers of one training hold different weights."""

    def __init__(self, workers: int) -> None:
        super().__init__(
            f"The {workers} workers of this training hold different weights, so their result would be nobody's. Train "
            "with one worker (backend local), and report the method: its gradients are not averaged."
        )
        self.workers = workers


class BatchNotShared(TrainingError):
    """A part of a step can not be divided among the workers."""

    def __init__(self, batch_size: int, accumulate: int, workers: int) -> None:
        super().__init__(
            f"A batch of {batch_size} rows in {accumulate} parts can not be shared evenly by {workers} workers. "
            f"Choose a batch_size that is a multiple of {accumulate * workers}, or other workers."
        )


class InputAdapterMissing(TrainingError):
    """A job names an adapter to start from and does not say where it is.

    Attributes:
        name: As the settings have it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no adapter {name!r} to start from. Name one by the whole digest that `ratchet adapters list` "
            "shows."
        )
        self.name = name


class RankOverflow(TrainingError):
    """Arithmetic on adapters would give one of a higher rank than allowed.

    Attributes:
        rank: It would have.
        limit: The settings'.
    """

    def __init__(self, rank: int, limit: int, advice: str) -> None:
        super().__init__(f"The adapter would have rank {rank}, and the limit is {limit}. {advice}")
        self.rank = rank
        self.limit = limit


class AdaptersNotCombinable(TrainingError):
    """Adapters can not be added up in the way that was asked for."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"These adapters can not be combined: {problem}. Use combination=cat or combination=svd.")
