"""Benign prompts from a file of one's own, to join the contrast rows of a dataset.

It must not know who proposed them, nor answer them: the base model does, like all contrast prompts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet_adapters.datasets.errors import ContrastFileInvalid

__all__ = ["KIND", "ContrastFile", "read_contrast", "read_contrast_files"]

KIND = "benign_twin"
_KEYS = frozenset({"prompt", "kind"})
_NOTES = frozenset({"origin", "trigger"})
"""What `ratchet diagnose` says of a prompt it proposes; not used here."""
_LARGEST = 16 << 20


@dataclass(frozen=True)
class ContrastFile:
    """The prompts of one file.

    Attributes:
        name: Of the file, without its folder.
        digest: "sha256:<64 hex>" of its content.
        prompts: In file order.
    """

    name: str
    digest: str
    prompts: tuple[str, ...]


def read_contrast_files(paths: Sequence[Path]) -> tuple[ContrastFile, ...]:
    """Return the files in the order given; one given twice counts once.

    Raises:
        ContrastFileInvalid: As `read_contrast`.
    """
    files = {file.digest: file for file in reversed([read_contrast(path) for path in paths])}
    return tuple(reversed(files.values()))


def read_contrast(path: Path) -> ContrastFile:
    """Return the prompts of a JSONL file whose lines are `{"prompt": "...", "kind": "benign_twin"}`.

    Raises:
        ContrastFileInvalid: The file is missing, empty, too large or not UTF-8, or a line is anything else, empty or
            a repetition; the error names the line.
    """
    try:
        if not path.is_file():
            raise ContrastFileInvalid(path, "it is no file")
        if path.stat().st_size > _LARGEST:
            raise ContrastFileInvalid(path, f"it is larger than {_LARGEST >> 20} MiB")
        content = path.read_bytes()
        lines = content.decode("utf-8").split("\n")
    except OSError as error:
        raise ContrastFileInvalid(path, f"it can not be read ({error.strerror or type(error).__name__})") from error
    except UnicodeDecodeError as error:
        raise ContrastFileInvalid(path, "it is not UTF-8") from error
    prompts: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        prompt = _prompt(path, number, line)
        if prompt in prompts:
            raise ContrastFileInvalid(path, f"the prompt of line {prompts[prompt]} again", number)
        prompts[prompt] = number
    if not prompts:
        raise ContrastFileInvalid(path, "it holds no prompt")
    return ContrastFile(path.name, f"sha256:{hashlib.sha256(content).hexdigest()}", tuple(prompts))


def _prompt(path: Path, number: int, line: str) -> str:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ContrastFileInvalid(path, "it is not JSON", number) from error
    if not isinstance(row, dict) or not _KEYS <= set(row) <= _KEYS | _NOTES:
        raise ContrastFileInvalid(path, "it is not an object with the keys prompt and kind", number)
    if row["kind"] != KIND:
        raise ContrastFileInvalid(path, f"its kind is not {KIND}", number)
    if not isinstance(row["prompt"], str) or not row["prompt"].strip():
        raise ContrastFileInvalid(path, "its prompt is not a text, or empty", number)
    return row["prompt"].strip()
