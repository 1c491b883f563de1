"""Typed errors of training.

They must not know who started the training.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "AdaptersNotCombinable",
    "BackendUnavailable",
    "BatchNotShared",
    "ConstitutionInvalid",
    "CriticAnswerInvalid",
    "CriticRefused",
    "CriticUnavailable",
    "FolderNotShared",
    "InputAdapterMissing",
    "LossTermOptionsInvalid",
    "LossTermUnknown",
    "MethodUnknown",
    "NotEnoughMemory",
    "NotRevised",
    "NothingToTrain",
    "PenaltyInvalid",
    "PenaltyOptionsInvalid",
    "PenaltyUnknown",
    "PromptsMissing",
    "RankOverflow",
    "RevisionJudgeInvalid",
    "RewardInvalid",
    "RewardModelInvalid",
    "RewardOptionsInvalid",
    "RewardUnknown",
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


class _PluginUnknown(TrainingError):
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


class _PluginOptionsInvalid(TrainingError):
    """It does not take these options."""

    what = "plugin"

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The {self.what} {name!r} does not take these options: {problem}. See its docstring.")
        self.name = name


class LossTermUnknown(_PluginUnknown):
    """No loss term has this name."""

    what, group = "loss term", "ratchet.loss_terms"


class LossTermOptionsInvalid(_PluginOptionsInvalid):
    """A loss term does not take the options it was given."""

    what = "loss term"


class PenaltyUnknown(_PluginUnknown):
    """No penalty has this name."""

    what, group = "penalty", "ratchet.penalties"


class PenaltyOptionsInvalid(_PluginOptionsInvalid):
    """A penalty does not take the options it was given."""

    what = "penalty"


class PenaltyInvalid(TrainingError):
    """A penalty returned something other than one score in [0, 1] per answer.

    Attributes:
        name: Of the penalty.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The penalty {name!r} {problem}. It must return one number in [0, 1] per answer, in order.")
        self.name = name


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


class RewardUnknown(_PluginUnknown):
    """No reward has this name."""

    what, group = "reward", "ratchet.rewards"


class RewardOptionsInvalid(_PluginOptionsInvalid):
    """A reward does not take the options it was given."""

    what = "reward"


class RewardInvalid(TrainingError):
    """A reward returned something other than one number in [0, 1] per answer.

    Attributes:
        name: Of the reward.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"The reward {name!r} {problem}. It must return one number in [0, 1] per answer, in order.")
        self.name = name


class RewardModelInvalid(TrainingError):
    """A folder is no reward model that could score answers of this base model.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(
            f"{folder} can not be used as a reward model: {problem}. Train one with the method reward-model on the "
            "base model in use."
        )
        self.folder = folder


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
