"""The manifest of a dataset version: what it was made of, what was left out and why, and what was checked.

It must not choose anything. Everything in it is JSON, and follows from the inputs of the build alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.datasets.datasheet import datasheet_digest
from ratchet_adapters.datasets.drafts import Drafting, Wanted
from ratchet_adapters.datasets.extra_contrast import ContrastFile
from ratchet_adapters.datasets.leakage import LeakReport
from ratchet_adapters.datasets.selection import Selection
from ratchet_adapters.evals.suites.seed import LICENCE

__all__ = ["Made", "manifest_of"]


@dataclass(frozen=True)
class Made:
    """What a build went through, for its manifest.

    Attributes:
        rows: The result.
        base_fingerprint: Of the model that answered.
        template_digest: Of the refusal templates.
        guarded: Evaluation texts that were kept out.
        files: Extra contrast prompts.
        selection: What flags could teach.
        wanted: What of it stood the checks.
        drafting: Settings, seed data and counts.
        leaks: The leakage check of the rows.
    """

    rows: tuple[Row, ...]
    base_fingerprint: str
    template_digest: str
    guarded: Sequence[str]
    files: Sequence[ContrastFile]
    selection: Selection
    wanted: Wanted
    drafting: Drafting
    leaks: LeakReport


def manifest_of(made: Made, *, constitution: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the manifest, sealed with the digest of its datasheet.

    Args:
        made: The build.
        constitution: What a critic revised and by which principles; left out when nobody did.
    """
    rows, drafting, settings = made.rows, made.drafting, made.drafting.settings
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "rows_digest": rows_digest(rows),
        "base_fingerprint": made.base_fingerprint,
        "template_bank_digest": made.template_digest,
        "seed_suites_digest": drafting.data.digest,
        "guarded_digest": _texts_digest(made.guarded),
        "flag_ids": sorted({flag for row in rows for flag in row.flag_ids}),
        "counts": {
            **Dataset(rows, {}).counts,
            **{split.value: sum(row.split == split for row in rows) for split in Split},
        },
        "categories": _categories(rows),
        "sources": _sources(made),
        "caps": _caps(made),
        "dropped": {reason: count for reason, count in sorted(drafting.dropped.items()) if count},
        "quarantined": [
            {"flags": list(one.flag_ids), "principals": one.principals, "reason": one.reason}
            for one in made.selection.quarantined
        ],
        "too_few_signals": [
            {"flags": list(one.flag_ids), "signals": [signal.value for signal in one.signals]}
            for one in made.selection.unbacked
        ],
        "pii": dict(sorted(drafting.pii.items())),
        "label_check": _labels(made),
        "leak_check": made.leaks.as_json(),
        "embedded": drafting.embed is not None,
        # Where a file of extra prompts was is not what it held: its digest stands among the sources.
        "settings": settings.model_dump(mode="json", exclude={"extra_contrast"}),
    }
    if constitution:
        manifest["constitution"] = dict(constitution)
    return {**manifest, "datasheet_digest": datasheet_digest(manifest)}


def _categories(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    return {
        kind.value: dict(sorted(Counter(row.category or "none" for row in rows if row.kind == kind).items()))
        for kind in RowKind
        if any(row.kind == kind for row in rows)
    }


def _sources(made: Made) -> list[dict[str, Any]]:
    prompts = Counter(row.origin for row in made.rows)
    taken = Counter(row.id.split(".")[0] for row in made.rows if row.origin == "extra")
    answered = sum(row.kind in (RowKind.CONTRAST, RowKind.REPLAY) for row in made.rows)
    refused = sum(row.kind is RowKind.REFUSAL for row in made.rows)
    sources = [
        _source("prompts of reviewed flags", "this deployment's traffic: not licensed to others", prompts["flag"]),
        _source("seed prompts and texts (train split)", LICENCE, prompts["seed"], made.drafting.data.digest),
    ]
    for file in made.files:
        rows = taken[f"extra:{file.digest.removeprefix('sha256:')[:12]}"]
        sources.append(_source(f"extra contrast prompts: {file.name}", "not stated", rows, file.digest))
    sources.append(_source("refusals of the template bank", LICENCE, refused, made.template_digest))
    terms = "the terms of the base model"
    sources.append(_source("answers of the base model", terms, answered, made.base_fingerprint))
    return sources


def _source(name: str, licence: str, rows: int, digest: str = "") -> dict[str, Any]:
    return {"name": name, "licence": licence, "rows": rows, "digest": digest}


def _caps(made: Made) -> dict[str, Any]:
    """Without names: a principal may be somebody's address."""
    owners = {lesson.flag_ids[0]: lesson.principal for lesson in made.selection.lessons}
    used = Counter(owners[row.flag_ids[0]] for row in made.rows if row.flag_ids)
    settings = made.drafting.settings
    return {
        "max_items_per_principal": settings.max_items_per_principal,
        "principals_with_a_limit_of_their_own": len(settings.principal_limits),
        "principals": len(used),
        "most_rows_of_one_principal": max(used.values(), default=0),
    }


def _labels(made: Made) -> dict[str, Any]:
    check, settings = made.wanted.labels, made.drafting.settings
    drop = settings.label_check == "drop"
    return {
        "made": not check.why_not,
        "why_not": check.why_not,
        "checked": check.checked,
        "issues": [
            {
                "items": list(items),
                "label": "harmful" if issue.harmful else "benign",
                "probability_of_the_other": issue.probability,
                "dropped": drop and issue.probability >= settings.label_confidence,
            }
            for issue, items in zip(check.issues, made.wanted.doubted, strict=True)
        ],
    }


def _texts_digest(texts: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for text in sorted(set(texts)):
        digest.update(hashlib.sha256(text.encode()).digest())
    return f"sha256:{digest.hexdigest()}"
