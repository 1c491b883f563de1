"""Answers with labels to calibrate judges on, read from the folders their authors publish.

It must not judge. None of them is part of the product; a set labelled by a model says so, because agreeing with a model
is not being right.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ratchet_adapters.evals.errors import SuiteUnreadable
from ratchet_adapters.evals.judges.judge import Answer
from ratchet_adapters.evals.judges.refusal import ANSWERED, FULL, PARTIAL

__all__ = ["ANY", "REFERENCES", "Labelled", "Reference", "pyrit_folder"]

ANY = "any_refusal"
"""Label of sets that do not tell full from partial refusals."""
_XSTEST = {"1_full_compliance": ANSWERED, "2_full_refusal": FULL, "3_partial_refusal": PARTIAL}
_LIMIT = 1 << 24


@dataclass(frozen=True)
class Labelled:
    """One answer with its label.

    Attributes:
        answer: What is judged; the prompt is "" where it was not published.
        label: full_refusal, partial_refusal, answered, or any_refusal.
        group: Which model wrote it, or which part of the set it is.
    """

    answer: Answer
    label: str
    group: str


@dataclass(frozen=True)
class Reference:
    """A labelled set.

    Attributes:
        name: The set.
        rows: Its answers.
        digest: "sha256:..." of the files read.
        labelled_by: `people`, or the model that did.
        licence: SPDX id of the data.
    """

    name: str
    rows: Sequence[Labelled]
    digest: str
    labelled_by: str
    licence: str

    @property
    def by_people(self) -> bool:
        """Whether people labelled it."""
        return self.labelled_by == "people"


def _xstest(folder: Path) -> Reference:
    path = folder / "completions.csv"
    content = _bytes(path)
    rows = []
    for number, row in enumerate(_csv(path, content.decode("utf-8")), start=2):
        label = _XSTEST.get(row.get("final_label") or "")
        if label is None or not isinstance(row.get("completion"), str):
            raise SuiteUnreadable(path, f"one of {sorted(_XSTEST)} was expected", line=number, column="final_label")
        rows.append(Labelled(Answer("", row["completion"]), label, row["model"]))
    return _reference("xstest_refusal_labels", rows, [content], "people", "CC-BY-4.0", path)


def _jailbreakbench(folder: Path) -> Reference:
    files = sorted(folder.glob("*.baseline.json"))
    contents = [_bytes(path) for path in files]
    rows = []
    for path, content in zip(files, contents, strict=True):
        try:
            for entry in json.loads(content)["completions"]:
                unsafe = {"0": False, "1": True}[str(entry["is_jailbreak_llamaguard2"])]
                # A safe reply to a harmful request is nearly always a refusal, but not always.
                label = ANSWERED if unsafe else ANY
                rows.append(
                    Labelled(
                        Answer(entry["prompt"], entry["response"]), label, path.name.removesuffix(".baseline.json")
                    )
                )
        except (ValueError, KeyError, TypeError) as error:
            why = f"completions with prompt, response and is_jailbreak_llamaguard2 were expected ({error!r})"
            raise SuiteUnreadable(path, why) from error
    return _reference(
        "jbb_completions_labelled", rows, contents, "Llama Guard 2 (safe taken for refused)", "Apache-2.0", folder
    )


def _pyrit(folder: Path) -> Reference:
    rows, contents = [], []
    for name in ("refusal", "refusal_extra"):
        path = folder / f"{name}.csv"
        content = _bytes(path)
        contents.append(content)
        lines = content.decode("utf-8-sig").splitlines(keepends=True)
        body = next((at for at, line in enumerate(lines) if not line.startswith("#")), len(lines))
        for number, row in enumerate(_csv(path, "".join(lines[body:])), start=body + 2):
            if row.get("human_score") not in ("0", "1") or not isinstance(row.get("assistant_response"), str):
                raise SuiteUnreadable(path, "0 or 1 was expected", line=number, column="human_score")
            answer = Answer(row.get("objective") or "", row["assistant_response"])
            rows.append(Labelled(answer, ANY if row["human_score"] == "1" else ANSWERED, name))
    return _reference("pyrit_refusal", rows, contents, "people", "MIT", folder)


def pyrit_folder() -> Path | None:
    """Return where the installed package `pyrit` keeps its refusal sets, without importing it; None without it.

    `pip install --no-deps pyrit` is enough: only two CSV files are read.
    """
    found = importlib.util.find_spec("pyrit")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations))) / "datasets" / "scorer_evals" / "refusal_scorer"
    return folder if folder.is_dir() else None


REFERENCES: Mapping[str, Callable[[Path], Reference]] = MappingProxyType(
    {"xstest_refusal_labels": _xstest, "jbb_completions_labelled": _jailbreakbench, "pyrit_refusal": _pyrit}
)
"""Readers by the name of the set, each given its folder; they raise `SuiteUnreadable`."""


def _reference(
    name: str, rows: Sequence[Labelled], contents: Sequence[bytes], by: str, licence: str, place: Path
) -> Reference:
    if not rows:
        raise SuiteUnreadable(place, f"it holds no labelled answer of {name}")
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return Reference(name, rows, f"sha256:{digest.hexdigest()}", by, licence)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SuiteUnreadable(path, f"it cannot be read ({error})") from error


def _csv(path: Path, content: str) -> list[dict[str, Any]]:
    previous = csv.field_size_limit(_LIMIT)
    try:
        return list(csv.DictReader(io.StringIO(content, newline="")))
    except csv.Error as error:
        raise SuiteUnreadable(path, f"broken quoting ({error})") from error
    finally:
        csv.field_size_limit(previous)
