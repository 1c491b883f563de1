"""Cases of a profile: texts with what its rails must make of them, in a YAML file beside its configuration.

They are tests for people who write a profile, and canaries for the server, which serves no profile whose own cases
fail. It must not know where profiles are kept.

    cases:
      - prompt: What is a bond?
        expect: allow
      - prompt: Which card did I give you?
        answer: It is 4111 1111 1111 1111.
        expect: mask
        becomes: It is <CARD>.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ratchet_server.rails.configfolder import CASE_FILES, ConfigFolder, KeyPath, read_config_file
from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.message import Message
from ratchet_server.rails.profile import Profile
from ratchet_server.rails.strictness import refuse_unknown_keys
from ratchet_server.rails.verdict import Decision, Outcome

__all__ = ["Case", "CaseResult", "cases_beside", "read_cases", "run_case"]


class _Turn(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class _Written(BaseModel):
    """A case as it stands in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = ""
    prompt: str | None = Field(default=None, min_length=1)
    messages: list[_Turn] | None = Field(default=None, min_length=1)
    answer: str | None = Field(default=None, min_length=1)
    expect: Literal["allow", "block", "mask"]
    rail: str | None = None
    becomes: str | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> _Written:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("a case has either `prompt` or `messages`")
        if self.becomes is not None and self.expect != "mask":
            raise ValueError("`becomes` belongs to `expect: mask`")
        if self.rail is not None and self.expect == "allow":
            raise ValueError("`rail` names the rail that blocks or masks, and nothing does so in `expect: allow`")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    cases: list[_Written]


@dataclass(frozen=True, slots=True)
class Case:
    """What the rails must make of one text.

    Attributes:
        name: For people; its number in the file if it has no name.
        messages: The conversation.
        answer: The answer to judge; None: the prompt is judged.
        expect: allow, block or mask (let pass, rewritten). A rail that fails meets none of them.
        rail: The flow that must be the one that blocks or masks; None: any.
        becomes: What the text must become.
        file: Where it stands,
        line: and in which line.
    """

    name: str
    messages: tuple[Message, ...]
    answer: str | None
    expect: str
    rail: str | None
    becomes: str | None
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class CaseResult:
    """What became of a case.

    Attributes:
        problem: What is not as expected; "" if the case passed. It quotes no text but the case's own `becomes`.
    """

    case: Case
    decision: Decision
    problem: str


def cases_beside(folder: Path) -> tuple[Case, ...]:
    """Read the cases of a configuration folder; none if it has no file of cases. Raises as `read_cases`."""
    return tuple(case for name in CASE_FILES if (folder / name).is_file() for case in read_cases(folder / name))


def read_cases(file: Path) -> tuple[Case, ...]:
    """Read a file of cases.

    Raises:
        RailConfigError: The file cannot be read, has an unknown key, or a case makes no sense; it names the line.
    """
    if not file.is_file():
        raise RailConfigError(file, "There is no such file.", "Name a YAML file that begins with `cases:`.")
    source = read_config_file(file)
    refuse_unknown_keys(source, _File, (), source.values)
    try:
        written = _File.model_validate(source.values).cases
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise source.error(tuple(first["loc"]) or ("cases",), f"{message}.", "Correct the case.") from error
    if not written:
        raise source.error(("cases",), "There is no case.", "Add one, or remove the file.")
    return tuple(_case(source, ("cases", index), case) for index, case in enumerate(written))


def _case(source: ConfigFolder, key: KeyPath, written: _Written) -> Case:
    file, line = source.places[key]
    turns = written.messages or [_Turn(role="user", content=str(written.prompt))]
    messages = tuple(Message(turn.role, turn.content) for turn in turns)
    name = written.name or f"case {int(key[-1]) + 1}"
    return Case(name, messages, written.answer, written.expect, written.rail, written.becomes, file, line)


async def run_case(profile: Profile, case: Case) -> CaseResult:
    """Judge a case's text by a profile. Never raises; a rail that fails is a problem."""
    if case.answer is None:
        decision = await profile.check_input(case.messages)
    else:
        decision = await profile.check_output(case.messages, case.answer)
    return CaseResult(case, decision, _problem(case, decision))


def _problem(case: Case, decision: Decision) -> str:
    got = "mask" if decision.rewritten is not None else decision.outcome.value.lower()
    deciding = [v for v in decision.verdicts if v.enforced and (v.outcome is not Outcome.ALLOW or v.rewrote)]
    by = _named(deciding)
    if got != case.expect:
        return f"expected {case.expect}, got {got}{f' by {by}' if by else ''}"
    if case.rail is not None and case.rail not in [verdict.rail for verdict in deciding]:
        return f"expected {case.expect} by {case.rail!r}, got it by {by}"
    if case.becomes is not None and decision.rewritten != case.becomes:
        return f"the masked text is {decision.rewritten!r}, not {case.becomes!r}"
    return ""


def _named(verdicts: Sequence[Any]) -> str:
    return "; ".join(f"{v.rail!r}{f' ({v.reason})' if v.reason else ''}" for v in verdicts)
