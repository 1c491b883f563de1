"""What the learner raises. Each error says what was wrong and what to do, and survives being stored as plain text.

Knows nothing of the durable-workflow library, which keeps of an error only its class name and its text.
"""

from __future__ import annotations

from pathlib import Path

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "BaseModelUnusable",
    "CandidateRefused",
    "LearnerAlreadyRunning",
    "LearnerStopping",
    "LearningError",
    "NothingToLearn",
    "PromotionRefused",
    "RunCancelled",
    "RunOptionsInvalid",
    "ServerUnavailable",
    "StepFailed",
    "StoreUnavailable",
    "UnknownMethod",
]


class LearningError(AdaptersError):
    """Root of everything this package raises on purpose.

    Attributes:
        retryable: Whether the same step may succeed a little later.
    """

    retryable = False


class UnknownMethod(LearningError):
    """A run asks for a training method that does not exist."""

    def __init__(self, method: str, known: tuple[str, ...]) -> None:
        self.method = method
        self.known = known
        super().__init__(f"No training method is called {method!r}; use one of: {', '.join(known)}.")


class RunOptionsInvalid(LearningError):
    """The options of a run have an unknown key or a value out of range.

    Attributes:
        method: The training method they were for.
        problems: One line per problem, each beginning with the option.
    """

    def __init__(self, method: str, problems: tuple[str, ...]) -> None:
        self.method = method
        self.problems = problems
        super().__init__(
            f"The options for {method!r} are not valid: {'; '.join(problems)}. Correct them and start again."
        )


class NothingToLearn(LearningError):
    """No flag has been accepted, so there is nothing a run could teach."""

    def __init__(self, open_flags: int) -> None:
        self.open_flags = open_flags
        super().__init__(
            f"No flag has been accepted by a reviewer ({open_flags} wait for review). Review flags with "
            "`ratchet flags review` and start the run again; an unreviewed flag trains nothing."
        )


class ServerUnavailable(LearningError):
    """The serving engine could not be reached, or is overloaded. Steps that meet this are tried again.

    Attributes:
        address: Where it was looked for.
        why: What the connection said.
    """

    retryable = True

    def __init__(self, address: str, why: str) -> None:
        self.address = address
        self.why = why
        super().__init__(
            f"The server at {address} did not answer ({why}). Check that it runs and that its engine is up "
            "(`ratchet doctor`), then start the run again."
        )


class StoreUnavailable(LearningError):
    """The registry's database or the artifact store could not be used for a moment. Such steps are tried again."""

    retryable = True

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"{why} Then start the run again.")


class CandidateRefused(LearningError):
    """The trained adapter was refused: by the registry's inspection, or by the serving engine's proof."""

    def __init__(self, digest: str, why: str) -> None:
        self.digest = digest
        self.why = why
        super().__init__(
            f"The candidate {digest} was refused: {why}. It serves nobody. Look at the run's dataset and losses, "
            "change the options and start a new run."
        )


class PromotionRefused(LearningError):
    """The candidate passed the gate but did not become champion.

    Attributes:
        digest: The candidate.
        why: What stood in the way.
    """

    def __init__(self, digest: str, why: str) -> None:
        self.digest = digest
        self.why = why
        super().__init__(
            f"The candidate {digest} was not promoted: {why}. The champion is unchanged by this run; evaluate the "
            "candidate against the present champion and promote it by hand, or start a new run."
        )


class BaseModelUnusable(LearningError):
    """The base model that the server serves cannot be trained on from here.

    Attributes:
        path: Where the server keeps it.
        why: What is wrong with it, seen from this machine.
    """

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        self.why = why
        super().__init__(
            f"The base model {path} cannot be trained on: {why}. Put the very files that the server serves at this "
            "path on the learner's machine, and start a new run."
        )


class StepFailed(LearningError):
    """A step failed for a reason that is not the learner's own.

    Attributes:
        step: Name of the step.
        cause: Class name of what was raised.
        why: Its text.
    """

    def __init__(self, step: str, cause: str, why: str) -> None:
        self.step = step
        self.cause = cause
        self.why = why
        super().__init__(f"{step}: {why} [{cause}]")


class RunCancelled(LearningError):
    """The run was cancelled while it was being carried out."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"Run {run_id} was cancelled. Nothing was promoted; start a new run when you want one.")


class LearnerAlreadyRunning(LearningError):
    """Another learner works on this state folder: two of them would carry out the same runs."""

    def __init__(self, lock: Path) -> None:
        self.lock = lock
        super().__init__(
            f"Another learner holds {lock}. Stop it first, or give this one its own state folder and executor id."
        )


class LearnerStopping(BaseException):
    """The learner is shutting down; the step is left as it is and done again at the next start.

    Not an `Exception`, so that no handler on the way takes it for a failed step and records it as one.
    """
