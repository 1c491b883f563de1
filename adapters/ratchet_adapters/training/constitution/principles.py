"""A constitution: written principles, from a YAML file that people edit.

It must not know who criticises by them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.constitution.errors import ConstitutionInvalid

__all__ = ["Constitution", "Principle", "read_constitution"]

_PACKAGE = "ratchet_adapters.training.constitution"
_SHIPPED = "principles.yaml"
_MAX_BYTES = 1 << 20

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
_Kind = Literal[
    "harmful", "benign", "cybercrime", "drugs", "fraud", "harassment", "hate", "misinformation", "privacy",
    "self_harm", "violence", "weapons",
]  # fmt: skip


class Principle(BaseModel):
    """One thing an answer is held to."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    applies_to: Annotated[list[_Kind], Field(min_length=1)]
    critique: _Text
    revision: _Text

    def applies(self, row: Row) -> bool:
        """Tell whether answers to this row's prompt are held to it."""
        if row.kind is RowKind.CONTRAST:
            return "benign" in self.applies_to
        return row.kind is RowKind.REFUSAL and ("harmful" in self.applies_to or row.category in self.applies_to)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    principles: Annotated[list[Principle], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _distinct(self) -> _File:
        names = [principle.name for principle in self.principles]
        if len(set(names)) != len(names):
            raise ValueError("two principles have the same name")
        return self


@dataclass(frozen=True)
class Constitution:
    """Principles in the order of their file.

    Attributes:
        principles: At least one.
        digest: "sha256:<64 hex>" of their content.
    """

    principles: tuple[Principle, ...]
    digest: str

    def drawn(self, row: Row, count: int, seed: int) -> list[Principle]:
        """Return up to `count` principles for a row, drawn by seed and the row's id; [] when none applies."""
        found = [principle for principle in self.principles if principle.applies(row)]
        return Random(f"{seed}:{row.id}").sample(found, min(count, len(found)))


def read_constitution(path: Path | None = None) -> Constitution:
    """Return the constitution of a file, or the shipped one.

    Raises:
        ConstitutionInvalid: It can not be read, is no YAML, or a key is missing, unknown or of the wrong type.
    """
    name = str(path) if path is not None else _SHIPPED
    try:
        source = path if path is not None else resources.files(_PACKAGE).joinpath(_SHIPPED)
        content = source.read_bytes()
        if len(content) > _MAX_BYTES:
            raise ConstitutionInvalid(name, (f"it has {len(content)} bytes; at most {_MAX_BYTES} are read",))
        # An alias can make a small file a huge tree.
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content, Loader=yaml.SafeLoader)):
            raise ConstitutionInvalid(name, ("it uses YAML aliases; write the text out",))
        values: Any = yaml.safe_load(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConstitutionInvalid(name, (f"{type(error).__name__}: {error}",)) from error
    try:
        found = _File.model_validate(values)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in error.errors()]
        raise ConstitutionInvalid(name, problems) from error
    return Constitution(
        tuple(found.principles), f"sha256:{hashlib.sha256(found.model_dump_json().encode()).hexdigest()}"
    )
