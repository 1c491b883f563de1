"""Finds what NeMo would silently drop: keys that no part of its configuration model knows, at any depth.

Upstream, `rails: {inputs: ...}` loads without a warning and without a rail. It must not know what any key means.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Union

from pydantic import BaseModel

from ratchet_server.rails.configfolder import ConfigFolder, KeyPath

__all__ = ["refuse_unknown_keys", "spelling_hint", "unknown_keys"]


def refuse_unknown_keys(folder: ConfigFolder, model: type[BaseModel], key: KeyPath, value: Any) -> None:
    """Raise RailConfigError for the first key under `key` that a pydantic model does not have."""
    for path, known in unknown_keys(model, value, key):
        raise folder.error(path, "No such setting exists.", spelling_hint(str(path[-1]), known))


def spelling_hint(word: str, known: Iterable[str]) -> str:
    """Say what to do about an unknown word: the nearest known one, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {near[0]!r}? Correct or remove it."
    return f"Remove it; known are: {', '.join(names)}."


def unknown_keys(annotation: Any, value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, tuple[str, ...]]]:
    """Compare a value with a type.

    Args:
        annotation: A pydantic model or any annotation built of such.
        value: What was configured there.
        path: Where that is.

    Yields:
        (path of an unknown key, the keys known in its place). Values of the wrong shape are pydantic's to report.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        yield from unknown_keys(arguments[0], value, path)
    elif origin in (Union, types.UnionType):
        readings = [list(unknown_keys(choice, value, path)) for choice in arguments if _fits(choice, value)]
        yield from min(readings, key=len, default=[])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and isinstance(value, dict):
        fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        for key, inner in value.items():
            if key not in fields:
                yield (*path, key), tuple(fields)
            else:
                yield from unknown_keys(fields[key], inner, (*path, key))
    elif origin in (list, tuple) and isinstance(value, list) and arguments:
        for index, inner in enumerate(value):
            yield from unknown_keys(arguments[0], inner, (*path, index))
    elif origin is dict and isinstance(value, dict) and len(arguments) == 2:
        for key, inner in value.items():
            yield from unknown_keys(arguments[1], inner, (*path, key))


def _fits(annotation: Any, value: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _fits(typing.get_args(annotation)[0], value)
    if origin in (Union, types.UnionType):
        return any(_fits(choice, value) for choice in typing.get_args(annotation))
    if isinstance(value, dict):
        return origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel | dict))
    return (origin in (list, tuple)) if isinstance(value, list) else origin not in (list, tuple, dict)
