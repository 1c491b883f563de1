"""A dataset version: rows and the manifest that says where each came from; written as a folder.

It must not know how rows are chosen or trained on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ratchet_adapters.datasets.datasheet import DATASHEET, datasheet
from ratchet_adapters.datasets.errors import DatasetInvalid

__all__ = ["MANIFEST", "ROWS", "Dataset", "Row", "RowKind", "Split", "read_dataset", "rows_digest"]

ROWS = "rows.jsonl"
MANIFEST = "manifest.json"
FORMAT = 1


class RowKind(StrEnum):
    """What a row teaches.

    To refuse, to answer what looks alarming, to answer the rest, to stay as it is on plain text; an opening is a text
    that the policy continues by itself, for a penalty to score; a pair is two texts that ought to be equally likely.
    """

    REFUSAL = "refusal"
    CONTRAST = "contrast"
    REPLAY = "replay"
    ANCHOR = "anchor"
    OPENING = "opening"
    PAIR = "pair"


class Split(StrEnum):
    """Whether a row is trained on or held out to watch the loss."""

    TRAIN = "train"
    VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt and what the model is to answer.

    Attributes:
        id: Unique in the dataset.
        kind: What it teaches.
        split: train or validation; near duplicates share one.
        category: Category of harm for refusals and twins, subject for replay.
        prompt: One user message; the opening itself for openings; empty for anchors, which are plain texts, and for
            pairs of plain texts.
        target: From the template bank for refusals, from the base model for answers, from the
            seed suites for anchors; empty for openings; the first text of a pair. Never from a flag.
        origin: "flag", "seed", or "extra" for a prompt of a contrast file.
        flag_ids: The flags it comes from; empty for the others.
        cluster: Rows of one cluster are near duplicates.
        rejected: What the model is to move away from: the flagged answer to a harmful prompt, a needless refusal of a
            benign one, the second text of a pair. Only ever a negative example; empty when there is none.
    """

    id: str
    kind: RowKind
    split: Split
    category: str
    prompt: str
    target: str
    origin: str
    flag_ids: tuple[str, ...]
    cluster: int
    rejected: str = ""


@dataclass(frozen=True)
class Dataset:
    """Rows in a fixed order and their manifest (JSON values)."""

    rows: tuple[Row, ...]
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """ "sha256:<64 hex>" of the canonical manifest, which names the rows by digest."""
        canonical = json.dumps(self.manifest, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"

    @property
    def flag_ids(self) -> tuple[str, ...]:
        """Every flag that taught a row, sorted."""
        return tuple(sorted({flag for row in self.rows for flag in row.flag_ids}))

    @property
    def counts(self) -> dict[str, int]:
        """Rows by kind, without the kinds there are none of."""
        found = {kind.value: sum(row.kind == kind for row in self.rows) for kind in RowKind}
        return {kind: count for kind, count in found.items() if count}

    def write(self, folder: Path) -> Path:
        """Write the rows and the datasheet, then the manifest: a folder without one was never finished.

        Raises:
            OSError: The folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        _replace(folder / ROWS, _jsonl(self.rows))
        _replace(folder / DATASHEET, datasheet(self.manifest).encode())
        _replace(folder / MANIFEST, json.dumps(self.manifest, indent=2, sort_keys=True).encode() + b"\n")
        return folder


def rows_digest(rows: Sequence[Row]) -> str:
    """Return "sha256:<64 hex>" of the rows as they are written."""
    return f"sha256:{hashlib.sha256(_jsonl(rows)).hexdigest()}"


def read_dataset(folder: Path) -> Dataset:
    """Return the dataset in a folder, checked against its manifest.

    Raises:
        DatasetInvalid: A file is missing or damaged, or the rows are not the ones the manifest names.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        lines = (folder / ROWS).read_text(encoding="utf-8").splitlines()
        rows = tuple(_row(json.loads(line)) for line in lines)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetInvalid(folder, f"{type(error).__name__}: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DatasetInvalid(folder, f"its manifest is not of format {FORMAT}")
    if manifest.get("rows_digest") != rows_digest(rows):
        raise DatasetInvalid(folder, "its rows do not have the digest its manifest names")
    _check_datasheet(folder, manifest)
    return Dataset(rows, manifest)


def _check_datasheet(folder: Path, manifest: Mapping[str, Any]) -> None:
    """The page people read must say what the manifest says. Versions without one named in the manifest have none."""
    named = manifest.get("datasheet_digest")
    if named is None:
        return
    try:
        found = f"sha256:{hashlib.sha256((folder / DATASHEET).read_bytes()).hexdigest()}"
    except OSError as error:
        raise DatasetInvalid(folder, f"its datasheet can not be read ({type(error).__name__})") from error
    if found != named:
        raise DatasetInvalid(folder, "its datasheet does not have the digest its manifest names")


def _row(value: dict[str, Any]) -> Row:
    return Row(
        **{
            **value,
            "kind": RowKind(value["kind"]),
            "split": Split(value["split"]),
            "flag_ids": tuple(value["flag_ids"]),
        }
    )


def _jsonl(rows: Sequence[Row]) -> bytes:
    # ASCII only: a U+2028 inside a prompt must not look like the end of a line.
    return "".join(json.dumps(asdict(row), sort_keys=True, ensure_ascii=True) + "\n" for row in rows).encode()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
