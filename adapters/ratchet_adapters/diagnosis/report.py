"""What a diagnosis found, and its JSON form.

It must not know how it was found nor how it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ratchet_adapters.diagnosis.blame import Blame
from ratchet_adapters.diagnosis.case import Case
from ratchet_adapters.diagnosis.confusion import Confusion
from ratchet_adapters.diagnosis.contrast import Contrast, write_twins
from ratchet_adapters.diagnosis.leave_one_out import Tried
from ratchet_adapters.diagnosis.page import render_page
from ratchet_adapters.diagnosis.triggers import Trigger

__all__ = ["CONTRAST_FILE", "REPORT_HTML", "REPORT_JSON", "Basis", "Diagnosis", "Provenance", "write_report"]

REPORT_JSON = "diagnosis.json"
REPORT_HTML = "diagnosis.html"
CONTRAST_FILE = "contrast.jsonl"


class Basis(StrEnum):
    """Which two groups of prompts the phrases tell apart.

    WRONG_REFUSALS: benign prompts that were refused, against those that were answered.
    HARMFUL: prompts that were taught to be refused (those that should be, when no dataset was given), against everyday
    prompts of the seed. Taken when hardly a benign prompt is answered, or when no phrase is found that causes a
    refusal: then the model refuses by the form of a request, and the phrases say only what it was taught.
    """

    WRONG_REFUSALS = "wrong_refusals"
    HARMFUL = "harmful"


@dataclass(frozen=True)
class Provenance:
    """What a diagnosis was made with.

    Attributes:
        adapter: Digest; "" for the base model alone.
        base_fingerprint: Of the model that was asked.
        suites: Name to the digest of the suite's evaluation items.
        split: Which items were asked.
        judge: "name@version".
        triage: Version of the triage scorer.
        dataset: Digest of the dataset whose rows were searched; "" when none was given.
        settings: `DiagnosisSettings` as JSON values.
        created_at: ISO 8601, UTC.
    """

    adapter: str
    base_fingerprint: str
    suites: Mapping[str, str]
    split: str
    judge: str
    triage: str
    dataset: str
    settings: Mapping[str, Any]
    created_at: str


@dataclass(frozen=True)
class Diagnosis:
    """Everything found.

    Attributes:
        provenance: What it was made with.
        confusion: Deserved against done.
        basis: What the phrases mark; see `Basis`.
        triggers: Phrases, highest z first.
        tried: The same phrases, left out and replaced.
        blame: Nearest training rows; None when no dataset was given.
        contrast: The proposed twins.
        cases: Every prompt with its answer.
    """

    provenance: Provenance
    confusion: Confusion
    basis: Basis
    triggers: tuple[Trigger, ...]
    tried: tuple[Tried, ...]
    blame: Blame | None
    contrast: Contrast
    cases: tuple[Case, ...]

    @property
    def wrong(self) -> tuple[Case, ...]:
        """The wrongly refused cases."""
        return tuple(case for case in self.cases if case.wrong_refusal)

    @property
    def seen_by_the_gate(self) -> bool:
        """Whether the triggers come from evaluation items, so that the same suites no longer measure the repair."""
        return self.provenance.split == "eval"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {**asdict(self), "seen_by_the_gate": self.seen_by_the_gate}


def write_report(diagnosis: Diagnosis, folder: Path) -> dict[str, Path]:
    """Write the JSON, the page and the contrast set into a folder, which is made when absent.

    Returns:
        "json", "html" and "contrast" to their paths.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"json": folder / REPORT_JSON, "html": folder / REPORT_HTML, "contrast": folder / CONTRAST_FILE}
    document = json.dumps(diagnosis.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    paths["json"].write_text(document + "\n", encoding="utf-8")
    paths["html"].write_text(render_page(diagnosis), encoding="utf-8")
    write_twins(diagnosis.contrast.twins, paths["contrast"])
    return paths
