"""Checks on what callers hand in, the same on every database: nothing that one of them would refuse or change.

It must not know any record or table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ratchet_adapters.artifacts.digest import canonical_json, is_digest
from ratchet_adapters.errors import InvalidInput

__all__ = ["actor", "digest", "instant", "json_object", "limit", "number", "size", "text"]

_MAX_INTEGER = 2**63 - 1


def text(value: str, field: str, *, longest: int = 1 << 20, empty: bool = True) -> str:
    """Return a text that every database stores unchanged: valid Unicode without NUL, of bounded length.

    Raises:
        InvalidInput: It is not such a text.
    """
    if not isinstance(value, str):
        raise InvalidInput(field, f"it is {type(value).__name__}, not text")
    if not value and not empty:
        raise InvalidInput(field, "it is empty")
    if len(value) > longest:
        raise InvalidInput(field, f"{len(value)} characters are over the limit of {longest}")
    if "\0" in value:
        raise InvalidInput(field, "it holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(field, "it holds half of a surrogate pair") from error
    return value


def actor(value: str) -> str:
    """Return who does something, as text of bounded length; raise InvalidInput otherwise."""
    return text(value, "actor", longest=128)


def digest(value: str, field: str, *, base: bool = False) -> str:
    """Return a well-formed digest, or "" when the base model is allowed; raise InvalidInput otherwise."""
    if base and value == "":
        return value
    if not isinstance(value, str) or not is_digest(value):
        raise InvalidInput(field, "it is not of the form sha256:<64 hex digits>")
    return value


def number(value: float, field: str) -> float:
    """Return a finite number; raise InvalidInput otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(field, "it is not a finite number")
    return float(value)


def size(value: int, field: str) -> int:
    """Return an integer in [0, 2^63); raise InvalidInput otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_INTEGER:
        raise InvalidInput(field, "it is not an integer between 0 and 2^63 - 1")
    return value


def limit(value: int, field: str = "limit", *, most: int = 1000) -> int:
    """Return a page size in [1, most]; raise InvalidInput otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidInput(field, f"it is not between 1 and {most}")
    return value


def instant(value: datetime, field: str) -> datetime:
    """Return a time that says its zone; raise InvalidInput otherwise."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidInput(field, "it is not a time with a time zone")
    return value


def json_object(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return a mapping that has a JSON form; raise InvalidInput otherwise."""
    if not isinstance(value, Mapping):
        raise InvalidInput(field, "it is not a JSON object")
    try:
        canonical_json(dict(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(field, f"it has no JSON form ({error})") from error
    return dict(value)
