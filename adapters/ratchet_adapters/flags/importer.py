"""Flags from a JSONL file: good lines become flags, broken ones are reported with their number.

It must not know the store: reading changes nothing, and submitting what was read is one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ratchet_adapters.flags.errors import FlagFileUnreadable
from ratchet_adapters.flags.records import FlagKind, FlagSource, Message, NewFlag

__all__ = ["ImportResult", "read_flags"]

_LONGEST_LINE = 4 << 20
_Text = Annotated[str, Field(max_length=65536)]


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What a file held: the flags of its good lines, and (line number, why) of the others."""

    flags: tuple[NewFlag, ...]
    bad_lines: tuple[tuple[int, str], ...]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Annotated[str, Field(min_length=1, max_length=32)]
    content: _Text


class _Line(BaseModel):
    """One line: a kind, and a prompt or messages."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str
    prompt: _Text | None = None
    messages: Annotated[list[_Message], Field(max_length=128)] | None = None
    completion: _Text = ""
    principal: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    tenant: Annotated[str, Field(max_length=64)] = ""
    note: Annotated[str, Field(max_length=4096)] = ""

    @model_validator(mode="after")
    def _subject(self) -> Self:
        if self.kind not in set(FlagKind):
            raise ValueError(f"kind is not one of {', '.join(FlagKind)}")
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        if not (self.prompt or self.messages):
            raise ValueError("prompt or messages is empty")
        for name in ("principal", "tenant", "note"):
            if "\0" in (getattr(self, name) or ""):
                raise ValueError(f"{name} holds a NUL character")
        if any("\0" in message.role for message in self.messages or ()):
            raise ValueError("messages.role holds a NUL character")
        return self


def read_flags(path: Path, *, principal: str = "import") -> ImportResult:
    """Read a JSONL file of flags.

    Each line is an object with `kind` and `prompt` (or `messages`, a list of {"role", "content"}), and optionally
    `completion`, `principal`, `tenant` and `note`. Empty lines are skipped.

    Args:
        path: The file, UTF-8.
        principal: Who flags, for lines that do not say.

    Raises:
        FlagFileUnreadable: The file cannot be read.
    """
    flags: list[NewFlag] = []
    bad: list[tuple[int, str]] = []
    try:
        with path.open("rb") as source:
            number = 0
            while line := source.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    bad.append((number, f"it is longer than {_LONGEST_LINE} bytes"))
                    while not line.endswith(b"\n") and (line := source.readline(_LONGEST_LINE)):
                        pass
                    continue
                text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not text.strip():
                    continue
                try:
                    flags.append(_flag(text, principal))
                except ValueError as error:
                    bad.append((number, _why(error)))
    except OSError as error:
        raise FlagFileUnreadable(str(path), error.strerror or str(error)) from error
    return ImportResult(tuple(flags), tuple(bad))


def _flag(line: bytes, principal: str) -> NewFlag:
    parsed = _Line.model_validate_json(line)
    messages = (
        (Message("user", parsed.prompt or ""),)
        if parsed.messages is None
        else tuple(Message(message.role, message.content) for message in parsed.messages)
    )
    return NewFlag(
        kind=parsed.kind,
        source=FlagSource.IMPORT,
        principal=parsed.principal or principal,
        messages=messages,
        completion=parsed.completion,
        tenant=parsed.tenant,
        note=parsed.note,
    )


def _why(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    parts = []
    for detail in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in detail["loc"])
        parts.append(f"{where}: {detail['msg']}" if where else detail["msg"])
    return "; ".join(parts)
