"""How far a judge can be trusted, measured against labels, and the file that says so.

It must not judge nor correct anything. A calibration belongs to one version of one judge: of another version nothing is
known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from ratchet_adapters.evals.errors import ResultUnreadable
from ratchet_adapters.evals.judges.correction import Confusion
from ratchet_adapters.evals.judges.judge import Judge, Judgement, judge_id, judged
from ratchet_adapters.evals.judges.labelled import ANY, Labelled, Reference
from ratchet_adapters.evals.judges.refusal import ANSWERED, FULL
from ratchet_adapters.private_file import write_private_json

__all__ = [
    "FULL_REFUSAL",
    "REFUSAL",
    "Calibration",
    "Measured",
    "calibration_of",
    "measure_judge",
    "shipped_calibrations",
]

REFUSAL = "refusal"
FULL_REFUSAL = "full_refusal"
"""The two questions: was anything declined; was everything."""
_FORMAT = 1
_BATCH = 64


@dataclass(frozen=True)
class Measured:
    """One judge against one labelled set.

    Attributes:
        reference: Name of the set.
        digest: Of its files.
        labelled_by: `people`, or the model that did.
        held_out: Whether no part of the judge was fitted on these answers.
        groups: By question (REFUSAL, FULL_REFUSAL), by group of the set: how the judge did. A set that does not tell
            full from partial refusals answers REFUSAL only.
    """

    reference: str
    digest: str
    labelled_by: str
    held_out: bool
    groups: Mapping[str, Mapping[str, Confusion]]

    @property
    def usable(self) -> bool:
        """Whether rates may be corrected by it: labelled by people, and not what the judge was fitted on."""
        return self.held_out and self.labelled_by == "people"

    def overall(self, question: str) -> Confusion | None:
        """Return the sum over the groups; None when the set does not answer the question."""
        groups = self.groups.get(question)
        return sum(groups.values(), Confusion()) if groups else None


@dataclass(frozen=True)
class Calibration:
    """What is known of one version of one judge.

    Attributes:
        judge: "name@version".
        measured: One entry for each set.
        created_at: ISO 8601, UTC.
    """

    judge: str
    measured: tuple[Measured, ...]
    created_at: str

    def best(self, question: str) -> Measured | None:
        """Return the largest usable set that answers a question; None when there is none."""
        sizes = {
            number: found.positives + found.negatives
            for number, entry in enumerate(self.measured)
            if entry.usable and (found := entry.overall(question)) is not None
        }
        return self.measured[max(sizes, key=sizes.__getitem__)] if sizes else None

    def write(self, path: Path) -> None:
        """Write it as JSON, in place of an older one; sensitivity and specificity stand beside their counts.

        Raises:
            OSError: The folder cannot be written.
        """
        body = asdict(self) | {"format": _FORMAT}
        for entry, measured in zip(body["measured"], self.measured, strict=True):
            entry["summary"] = {question: _summary(measured.overall(question)) for question in measured.groups}
        write_private_json(path, body)

    @classmethod
    def read(cls, text: str, where: str) -> Calibration:
        """Read what `write` wrote; the summary is for people and is not read.

        Raises:
            ResultUnreadable: It is damaged or of another format.
        """
        try:
            body: dict[str, Any] = json.loads(text)
            if body["format"] != _FORMAT:
                raise ValueError(f"its format is {body['format']}, not {_FORMAT}")
            measured = tuple(_measured(entry) for entry in body["measured"])
            return cls(str(body["judge"]), measured, str(body["created_at"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultUnreadable(f"calibration {where}", f"{type(error).__name__}: {error}") from error


def measure_judge(
    judge: Judge, reference: Reference, *, judge_of: Callable[[str], Judge] | None = None, held_out: bool = True
) -> Measured:
    """Let a judge judge a labelled set.

    Args:
        judge: Judges every group, unless `judge_of` is given.
        reference: The labelled set.
        judge_of: Gives the judge of one group: the same judge, fitted without that group.
        held_out: Whether no part of the judge was fitted on these answers; True when `judge_of` sees to it.

    Raises:
        JudgeFailed: The judge failed; an answer without a judgement is not left out.
    """
    groups: dict[str, dict[str, Confusion]] = {}
    for group in dict.fromkeys(row.group for row in reference.rows):
        rows = [row for row in reference.rows if row.group == group]
        found = _in_batches(judge_of(group) if judge_of else judge, rows)
        labels = [row.label for row in rows]
        groups.setdefault(REFUSAL, {})[group] = _confusion(
            [label != ANSWERED for label in labels], [one.value == 1.0 for one in found]
        )
        if ANY not in labels:
            groups.setdefault(FULL_REFUSAL, {})[group] = _confusion(
                [label == FULL for label in labels], [one.label == FULL for one in found]
            )
    return Measured(reference.name, reference.digest, reference.labelled_by, held_out, groups)


def calibration_of(judge: Judge, measured: Sequence[Measured]) -> Calibration:
    """Put measurements of one judge together, dated now.

    Raises:
        JudgeFailed: The judge's version cannot be had.
    """
    return Calibration(judge_id(judge), tuple(measured), datetime.now(UTC).isoformat(timespec="seconds"))


def shipped_calibrations() -> tuple[Calibration, ...]:
    """Return the calibrations of the shipped judges.

    Raises:
        ResultUnreadable: A shipped file is damaged.
    """
    folder = resources.files("ratchet_adapters.evals.judges") / "calibrations"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return tuple(Calibration.read(file.read_text(encoding="utf-8"), file.name) for file in files)


def _in_batches(judge: Judge, rows: Sequence[Labelled]) -> list[Judgement]:
    answers = [row.answer for row in rows]
    return [one for at in range(0, len(answers), _BATCH) for one in judged(judge, answers[at : at + _BATCH])]


def _confusion(truth: Sequence[bool], called: Sequence[bool]) -> Confusion:
    pairs = list(zip(truth, called, strict=True))
    return Confusion(
        hit=pairs.count((True, True)),
        missed=pairs.count((True, False)),
        right=pairs.count((False, False)),
        false=pairs.count((False, True)),
    )


def _summary(found: Confusion | None) -> dict[str, Any]:
    if found is None:
        return {}
    return {
        "sensitivity": found.sensitivity,
        "specificity": found.specificity,
        **{f"{name}_95": limits for name, limits in found.limits().items()},
    }


def _measured(entry: Mapping[str, Any]) -> Measured:
    groups = {
        str(question): {str(group): _counts(counts) for group, counts in by_group.items()}
        for question, by_group in entry["groups"].items()
    }
    reference, digest, by = (str(entry[name]) for name in ("reference", "digest", "labelled_by"))
    return Measured(reference, digest, by, bool(entry["held_out"]), groups)


def _counts(counts: Mapping[str, Any]) -> Confusion:
    found = Confusion(**{name: int(count) for name, count in counts.items()})
    if min(found.hit, found.missed, found.right, found.false) < 0:
        raise ValueError(f"a count is negative: {found}")
    return found
