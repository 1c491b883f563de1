"""A file of logged rows, checked to its end before anything is scored, and read part by part afterwards.

It must not know any scorer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ratchet_adapters.scoring.errors import LogUnreadable, RowInvalid

__all__ = ["Log", "LogRow", "check_log", "read_part"]

Format = Literal["jsonl", "parquet"]

_TEXTS = ("prompt", "completion")
_FIELDS = frozenset({"id", *_TEXTS})
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class LogRow:
    """One logged exchange.

    Attributes:
        line: Its line, or row in a Parquet file; the first is 1.
        id: As the file has it; empty without one.
        prompt: What was asked.
        completion: What was answered.
    """

    line: int
    id: str
    prompt: str
    completion: str


@dataclass(frozen=True)
class Log:
    """A checked file.

    Attributes:
        path: The file.
        format: Of the file.
        digest: "sha256:<64 hex>" of its bytes.
        rows: How many it has.
        rows_per_part: How many a part has, but for the last.
        starts: Where each part begins: a byte in JSONL, a row in Parquet.
    """

    path: Path
    format: Format
    digest: str
    rows: int
    rows_per_part: int
    starts: tuple[int, ...]

    def rows_of(self, part: int) -> int:
        """How many rows a part has."""
        return min(self.rows_per_part, self.rows - part * self.rows_per_part)


def check_log(path: Path, rows_per_part: int) -> Log:
    """Read a whole file, row by row, and return where its parts are.

    Raises:
        LogUnreadable: It is no such file, or has no rows.
        RowInvalid: A row does not have the schema.
    """
    known: dict[str, Format] = {".jsonl": "jsonl", ".parquet": "parquet"}
    if path.suffix not in known:
        raise LogUnreadable(path, f"its name ends in {path.suffix or 'nothing'}, not in .jsonl or .parquet")
    try:
        if known[path.suffix] == "jsonl":
            digest, rows, starts = _check_jsonl(path, rows_per_part)
        else:
            digest, rows, starts = _check_parquet(path, rows_per_part)
    except OSError as error:
        raise LogUnreadable(path, error.strerror or str(error)) from error
    if not rows:
        raise LogUnreadable(path, "it has no rows")
    return Log(path, known[path.suffix], digest, rows, rows_per_part, tuple(starts))


def read_part(log: Log, part: int) -> list[LogRow]:
    """Return the rows of one part.

    Raises:
        LogUnreadable: The file is not there any more.
        RowInvalid: It was changed since it was checked.
    """
    first = part * log.rows_per_part
    wanted = log.rows_of(part)
    try:
        if log.format == "jsonl":
            with log.path.open("rb") as stream:
                stream.seek(log.starts[part])
                return [_json_row(log.path, first + n + 1, stream.readline()) for n in range(wanted)]
        return list(_parquet_rows(log.path, log.starts[part], wanted))
    except OSError as error:
        raise LogUnreadable(log.path, error.strerror or str(error)) from error


def _check_jsonl(path: Path, rows_per_part: int) -> tuple[str, int, list[int]]:
    digest, rows, at, starts = hashlib.sha256(), 0, 0, []
    with path.open("rb") as stream:
        for line in stream:
            if rows % rows_per_part == 0:
                starts.append(at)
            rows += 1
            _json_row(path, rows, line)
            digest.update(line)
            at += len(line)
    return f"sha256:{digest.hexdigest()}", rows, starts


def _json_row(path: Path, line: int, content: bytes) -> LogRow:
    try:
        value = json.loads(content.decode("utf-8"))
    except ValueError as error:
        what = "it is empty" if not content.strip() else f"it is not JSON in UTF-8 ({error})"
        raise RowInvalid(path, line, what) from error
    if not isinstance(value, dict):
        raise RowInvalid(path, line, f"it is a JSON {type(value).__name__}, not an object")
    return _row(path, line, value)


def _row(path: Path, line: int, value: dict[str, Any]) -> LogRow:
    unknown = sorted(str(key) for key in value if key not in _FIELDS)
    if unknown:
        raise RowInvalid(path, line, f"it has the unknown field {unknown[0]!r}")
    for name in _TEXTS:
        if name not in value:
            raise RowInvalid(path, line, f"it has no {name}")
    for name, text in value.items():
        if not isinstance(text, str):
            raise RowInvalid(path, line, f"{name} is {type(text).__name__}, not text")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise RowInvalid(path, line, f"{name} holds half of a surrogate pair, which is no text")
    return LogRow(line, value.get("id", ""), value["prompt"], value["completion"])


def _check_parquet(path: Path, rows_per_part: int) -> tuple[str, int, list[int]]:
    import pyarrow
    from pyarrow import parquet

    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    try:
        with parquet.ParquetFile(path) as file:
            for field in file.schema_arrow:
                if field.name not in _FIELDS:
                    raise LogUnreadable(path, f"it has the unknown column {field.name!r}")
                if not (pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type)):
                    raise LogUnreadable(path, f"its column {field.name!r} holds {field.type}, not text")
            missing = [name for name in _TEXTS if name not in file.schema_arrow.names]
            if missing:
                raise LogUnreadable(path, f"it has no column {missing[0]!r}")
            rows = int(file.metadata.num_rows)
        for _ in _parquet_rows(path, 0, rows):
            pass
    except pyarrow.ArrowException as error:
        raise LogUnreadable(path, f"it is not Parquet ({error})") from error
    return f"sha256:{digest.hexdigest()}", rows, list(range(0, rows, rows_per_part))


def _parquet_rows(path: Path, start: int, count: int) -> Iterator[LogRow]:
    """Rows start to start + count; only the row groups that hold them are read."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        before = 0
        for group in range(file.metadata.num_row_groups):
            size = int(file.metadata.row_group(group).num_rows)
            begin, end = max(start, before), min(start + count, before + size)
            if begin < end:
                table = file.read_row_group(group).slice(begin - before, end - begin)
                for offset, value in enumerate(table.to_pylist()):
                    if value.get("id") is None:
                        value.pop("id", None)
                    yield _row(path, begin + offset + 1, value)
            before += size
