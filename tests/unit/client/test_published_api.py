"""What the client package publishes, held against a snapshot: a change here is a change for every application."""

from __future__ import annotations

import inspect
from pathlib import Path

import ratchet.client
from ratchet.client.request import Options

SNAPSHOT = Path(__file__).with_name("published_api.txt")


def published() -> str:
    """Every public name with its signature, one a line."""
    lines = []
    for name in sorted(ratchet.client.__all__):
        thing = getattr(ratchet.client, name)
        if not inspect.isclass(thing):
            lines.append(f"{name}{inspect.signature(thing)}")
            continue
        bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
        lines.append(f"class {name}({bases})")
        members = {} if issubclass(thing, Exception) and name != "RatchetError" else vars(thing)
        for member, value in sorted(members.items()):
            if inspect.isfunction(value) and (member == "__init__" or not member.startswith("_")):
                lines.append(f"  {member}{inspect.signature(value)}")
            elif isinstance(value, property):
                lines.append(f"  {member}")
    lines += [f"option {name}: {kind.__forward_arg__}" for name, kind in sorted(Options.__annotations__.items())]
    return "\n".join(lines) + "\n"


def test_the_published_api_is_the_one_that_was_agreed() -> None:
    # To agree to a change: write `published()` to the file, and say in the CHANGELOG what applications have to do.
    assert published() == SNAPSHOT.read_text(encoding="utf-8")
