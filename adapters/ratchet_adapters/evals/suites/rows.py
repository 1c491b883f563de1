"""Rows out of files people have: JSON lines, JSON, CSV, TSV, plain text, each possibly gzipped, or a folder of them.

It must not know what a row means. A bad file is named together with the line and the column at fault.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet_adapters.evals.errors import SuiteUnreadable

__all__ = ["SUFFIXES", "Row", "read_rows"]

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt")
_FIELD_LIMIT = 1 << 22


@dataclass(frozen=True)
class Row:
    """One record and where it stands.

    Attributes:
        values: Column to value. A line of a `.txt` file has the single column `text`.
        path: The file.
        line: Line from 1; for a JSON array the element from 1.
    """

    values: dict[str, Any]
    path: str
    line: int


def read_rows(path: Path, *, otherwise: str = "") -> Iterator[Row]:
    """Yield the rows of a file, or of every readable file of a folder in name order.

    Args:
        path: The file or folder.
        otherwise: Encoding of files that are not UTF-8, for sets that are published so; an error without it.

    Raises:
        SuiteUnreadable: Nothing is there, the format is unknown, or a line is damaged.
    """
    if path.is_dir():
        files = sorted(entry for entry in path.rglob("*") if entry.is_file() and _suffix(entry) in SUFFIXES)
        if not files:
            raise SuiteUnreadable(path, f"the folder holds no file ending in {', '.join(SUFFIXES)} (or these with .gz)")
        for file in files:
            yield from _file(file, otherwise)
        return
    yield from _file(path, otherwise)


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _file(path: Path, otherwise: str) -> Iterator[Row]:
    reader = {
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".json": _json,
        ".csv": _csv,
        ".tsv": _csv,
        ".txt": _text,
    }.get(_suffix(path))
    if reader is None:
        raise SuiteUnreadable(path, f"unknown format; known endings are {', '.join(SUFFIXES)} (or these with .gz)")
    return reader(path, _content(path, otherwise))


def _content(path: Path, otherwise: str) -> str:
    try:
        raw = path.read_bytes()
        if path.name.endswith(".gz"):
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise SuiteUnreadable(path, f"it cannot be read ({error})") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if otherwise:
            return raw.decode(otherwise)
        line = raw.count(b"\n", 0, error.start) + 1
        raise SuiteUnreadable(path, f"byte {raw[error.start]:#x} is not UTF-8", line=line) from error


def _json_lines(path: Path, content: str) -> Iterator[Row]:
    # Not splitlines(): U+2028 and friends are legal inside a JSON string.
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            column = str(error.colno) if isinstance(error, json.JSONDecodeError) else ""
            raise SuiteUnreadable(path, f"no JSON ({error})", line=number, column=column) from error
        yield _object(path, number, value)


def _json(path: Path, content: str) -> Iterator[Row]:
    try:
        value = json.loads(content)
    except ValueError as error:
        position = (error.lineno, str(error.colno)) if isinstance(error, json.JSONDecodeError) else (1, "")
        raise SuiteUnreadable(path, f"no JSON ({error})", line=position[0], column=position[1]) from error
    if isinstance(value, dict):
        # Several public sets wrap their rows in one named list.
        lists = [entry for entry in value.values() if isinstance(entry, list)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise SuiteUnreadable(path, "it holds neither a list of objects nor an object with one list", line=1)
    for number, entry in enumerate(value, start=1):
        yield _object(path, number, {"text": entry} if isinstance(entry, str) else entry)


def _object(path: Path, number: int, value: Any) -> Row:
    if not isinstance(value, dict):
        raise SuiteUnreadable(path, f"an object was expected, not {type(value).__name__}", line=number)
    return Row(value, str(path), number)


def _csv(path: Path, content: str) -> Iterator[Row]:
    previous = csv.field_size_limit(_FIELD_LIMIT)
    try:
        reader = csv.reader(io.StringIO(content), strict=True, delimiter=_delimiter(path, content))
        header: list[str] | None = None
        start = 1
        for cells in reader:
            number, start = start, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = [name.strip() for name in cells]
                continue
            if len(cells) != len(header):
                why = f"{len(cells)} cells where the header has {len(header)}"
                raise SuiteUnreadable(path, why, line=number, column=header[min(len(cells), len(header) - 1)])
            yield Row(dict(zip(header, cells, strict=True)), str(path), number)
    except csv.Error as error:
        raise SuiteUnreadable(path, f"broken quoting ({error})", line=start) from error
    finally:
        csv.field_size_limit(previous)


def _delimiter(path: Path, content: str) -> str:
    if _suffix(path) == ".tsv":
        return "\t"
    header = content.split("\n", 1)[0]
    # Some sets are published with semicolons, as spreadsheets of many countries write them.
    return ";" if ";" in header and "," not in header else ","


def _text(path: Path, content: str) -> Iterator[Row]:
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield Row({"text": line.strip()}, str(path), number)
