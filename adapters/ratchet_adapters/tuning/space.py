"""The search space: which options of a run are varied between which bounds, read from YAML and checked.

It must not know what the options do.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ratchet_adapters.learning.errors import LearningError
from ratchet_adapters.learning.options import check_options
from ratchet_adapters.tuning.errors import SpaceInvalid

__all__ = ["Choice", "Decimal", "Integer", "Space", "load_space", "space_names"]

_SUFFIXES = (".yaml", ".yml")
_LARGEST = 64 << 10


class _Kind(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Decimal(_Kind):
    """A real number between two bounds."""

    kind: Literal["decimal"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Decimal:
        _check(self)
        return self


class Integer(_Kind):
    """A whole number between two bounds, both included."""

    kind: Literal["integer"]
    low: int
    high: int
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Integer:
        _check(self)
        return self


class Choice(_Kind):
    """One of some values."""

    kind: Literal["choice"]
    of: tuple[bool | int | float | str, ...] = Field(min_length=2, strict=False)


def _check(bounds: Decimal | Integer) -> None:
    if not bounds.low < bounds.high:
        raise ValueError("low must be below high")
    if bounds.log and bounds.low <= 0:
        raise ValueError("a logarithmic scale begins above 0")


Parameter = Annotated[Decimal | Integer | Choice, Field(discriminator="kind")]


class Space(BaseModel):
    """What is searched.

    Attributes:
        method: Training method.
        fixed: Options that every trial has: {"dataset": {...}, "training": {...}}.
        search: Path of an option ("training.rank", "training.terms.NAME.weight.value") to its parameter.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    method: str
    fixed: Mapping[str, Any] = Field(default_factory=dict)
    search: Mapping[str, Parameter] = Field(min_length=1)

    def options(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a run in which the searched ones have these values."""
        found: dict[str, Any] = deepcopy(dict(self.fixed))
        for path, value in values.items():
            *above, last = path.split(".")
            place = found
            for name in above:
                place = place.setdefault(name, {})
            place[last] = value
        return found


def space_names() -> tuple[str, ...]:
    """Return the names of the shipped spaces, sorted."""
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir()))


def load_space(name: str) -> Space:
    """Return a search space, every bound of it tried against the method's settings.

    Args:
        name: Of a shipped space, or the path of a file ending in .yaml or .yml.

    Raises:
        SpaceInvalid: There is none, it is malformed, or it allows what the method does not.
    """
    if name.endswith(_SUFFIXES):
        content = _content(Path(name))
    elif name in space_names():
        content = _folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise SpaceInvalid(name, f"there is no shipped space of that name; there are {', '.join(space_names())}")
    try:
        _no_repeats(name, yaml.compose(content, Loader=yaml.SafeLoader))
        values = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SpaceInvalid(name, f"it is not YAML ({error})") from error
    try:
        space = TypeAdapter(Space).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise SpaceInvalid(name, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    _try_bounds(name, space)
    return space


def _try_bounds(name: str, space: Space) -> None:
    for path, parameter in space.search.items():
        if path.split(".")[0] not in ("dataset", "training") or "." not in path or not all(path.split(".")):
            raise SpaceInvalid(name, f"search.{path}: a path begins with dataset. or training.")
        for value in _ends(parameter):
            try:
                check_options(space.method, space.options({path: value}))
            except LearningError as error:
                raise SpaceInvalid(name, f"search.{path} = {value}: {error}") from error
            except (TypeError, AttributeError) as error:
                raise SpaceInvalid(name, f"search.{path}: something above it is no mapping") from error


def _ends(parameter: Decimal | Integer | Choice) -> tuple[Any, ...]:
    return parameter.of if isinstance(parameter, Choice) else (parameter.low, parameter.high)


def _no_repeats(name: str, node: Any) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: set[str] = set()
    for key, value in node.value:
        if key.value in seen:
            raise SpaceInvalid(name, f"line {key.start_mark.line + 1}: {key.value!r} is given twice")
        seen.add(key.value)
        _no_repeats(name, value)


def _folder() -> Any:
    return resources.files("ratchet_adapters.tuning").joinpath("spaces")


def _content(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            raise SpaceInvalid(str(path), f"it is no file of at most {_LARGEST >> 10} KiB")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpaceInvalid(str(path), f"it can not be read ({type(error).__name__})") from error
