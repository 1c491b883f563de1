"""Typed errors of evaluation and gating. Each carries its facts as fields and says what to do.

They must not know who shows them: the command line and the RPC layer map them.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "AttributionError",
    "EvalError",
    "JudgeFailed",
    "PolicyInvalid",
    "ResultUnreadable",
    "SuiteUnknown",
    "SuiteUnreadable",
    "TargetRefused",
    "TargetUnavailable",
]


class EvalError(Exception):
    """Root of everything this package raises on purpose."""


class SuiteUnreadable(EvalError):
    """A suite's file or folder is absent, damaged, or has not the fields the suite needs.

    Attributes:
        path: The file or folder (or the hub id of a data set).
        line: Line (or element, for a JSON array) at fault, counted from 1; None when the whole file is.
        column: Name of the field at fault, or the character position as text; empty when it is not one of them.
        why: What is wrong.
    """

    def __init__(self, path: Path | str, why: str, *, line: int | None = None, column: str = "") -> None:
        self.path = str(path)
        self.line = line
        self.column = column
        self.why = why
        where = self.path + (f", line {line}" if line is not None else "") + (f", column {column}" if column else "")
        super().__init__(f"{where}: {why}. Correct the file or point the suite at another one.")


class SuiteUnknown(EvalError):
    """No suite has this name, or several packages claim it, or the package that brings it does not load."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        super().__init__(f"Suite {name!r}: {why}")


class JudgeFailed(EvalError):
    """A judge could not judge. There is no default judgement: the axis fails."""

    def __init__(self, judge: str, why: str) -> None:
        self.judge = judge
        self.why = why
        super().__init__(
            f"The judge {judge!r} failed: {why}. Repair it and evaluate again; an unjudged answer counts for nothing."
        )


class TargetUnavailable(EvalError):
    """The server under evaluation could not be reached, or stayed overloaded through every retry."""

    def __init__(self, address: str, why: str) -> None:
        self.address = address
        self.why = why
        super().__init__(
            f"The server at {address} did not answer ({why}). Check that it runs (`ratchet doctor`) and start the "
            "evaluation again: answers already given are kept when a cache is set."
        )


class TargetRefused(EvalError):
    """The server answered one request with an error, or with something that is no answer of the model.

    Attributes:
        code: Name of the gRPC status, or `BLOCKED` when a rail stepped in although rails were to be off.
    """

    def __init__(self, code: str, why: str) -> None:
        self.code = code
        self.why = why
        super().__init__(f"The server refused the request with {code}: {why}. The axis it belongs to has failed.")


class AttributionError(EvalError):
    """An answer came from another adapter than the one under evaluation, so nothing measured can be trusted."""

    def __init__(self, asked: str, served: str) -> None:
        self.asked = asked
        self.served = served
        super().__init__(
            f"Asked for adapter {asked or 'base'} but {served or 'base'} answered. The evaluation was stopped; load "
            "the adapter again and report this: an engine must never mix adapters."
        )


class PolicyInvalid(EvalError):
    """A gate policy file cannot be read or asks for something that is none of its fields.

    Attributes:
        problems: One line per problem, each beginning with the field.
    """

    def __init__(self, path: Path | str, problems: tuple[str, ...]) -> None:
        self.path = str(path)
        self.problems = problems
        super().__init__(f"The gate policy {self.path} is not valid: {'; '.join(problems)}. Correct these fields.")


class ResultUnreadable(EvalError):
    """A stored evaluation result or gate report cannot be read back."""

    def __init__(self, what: str, why: str) -> None:
        self.what = what
        super().__init__(f"The stored {what} cannot be read: {why}. Evaluate again; it is never guessed.")
