"""The datasheet of a dataset version: its manifest as a page for people.

It must not say anything the manifest does not hold; what an older manifest lacks is said to be not recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["DATASHEET", "datasheet", "datasheet_digest"]

DATASHEET = "DATASHEET.md"
_DIGEST = "datasheet_digest"
_MISSING = "not recorded"
_LISTED = 20


def datasheet_digest(manifest: Mapping[str, Any]) -> str:
    """Return "sha256:<64 hex>" of the datasheet of a manifest, whether or not that names one."""
    return f"sha256:{hashlib.sha256(datasheet(manifest).encode()).hexdigest()}"


def datasheet(manifest: Mapping[str, Any]) -> str:
    """Return the datasheet in Markdown; the same manifest gives the same text."""
    parts = [
        "# Datasheet",
        "Rows in `rows.jsonl`, everything below in `manifest.json`. A version never changes: it is named by the "
        "digest of its content.",
        "## Digests",
        _facts(
            manifest,
            {
                "rows": "rows_digest",
                "base model": "base_fingerprint",
                "refusal templates": "template_bank_digest",
                "seed suites": "seed_suites_digest",
                "guarded evaluation texts": "guarded_digest",
            },
        ),
        "## Sources and licences",
        _table(("source", "licence", "rows", "digest"), _records(manifest.get("sources"), "name licence rows digest")),
        "## Rows by kind and split",
        _table(("kind or split", "rows"), _pairs(manifest.get("counts"))),
        "## Rows by category",
        _table(("kind", "category", "rows"), _nested(manifest.get("categories"))),
        "## Bound per principal",
        _table(("bound", "value"), _pairs(manifest.get("caps"))),
        "## Left out, by reason",
        _table(("reason", "prompts or flags"), _pairs(manifest.get("dropped"))),
        "## Personal data replaced in prompts, by kind",
        _table(("kind", "replaced"), _pairs(manifest.get("pii"))),
        "## Quarantined bursts",
        _table(("flags", "principals", "reason"), _lists(manifest.get("quarantined"), "flags principals reason")),
        "## Too few independent signals",
        _table(("flags", "signals"), _lists(manifest.get("too_few_signals"), "flags signals")),
        "## Labels in doubt",
        *_labels(manifest.get("label_check")),
        "## Leakage check against evaluation suites",
        *_leaks(manifest.get("leak_check")),
        "## Settings",
        _table(("setting", "value"), _pairs(manifest.get("settings"))),
    ]
    return "\n\n".join(parts) + "\n"


def _labels(check: Any) -> list[str]:
    if not isinstance(check, Mapping):
        return [_MISSING]
    if not check["made"]:
        return [f"Not checked: {check['why_not']}."]
    keys = "items label probability_of_the_other dropped"
    return [
        f"{check['checked']} items of traffic and extra files were checked.",
        _table(("items", "label", "probability of the other", "dropped"), _lists(check["issues"], keys)),
    ]


def _leaks(check: Any) -> list[str]:
    if not isinstance(check, Mapping):
        return [_MISSING]
    suites = [(name, one["items"], one["version"]) for name, one in check["suites"].items()]
    how = f"words (Jaccard from {check['jaccard']})"
    how += " only" if check["cosine"] is None else f" and embeddings (cosine above {check['cosine']})"
    return [
        f"{check['rows']} rows compared by {how}: {check['leaked_rows']} rows leak, in {check['pairs']} pairs.",
        _table(("suite", "items", "version"), suites),
        _table(
            ("row", "suite", "item", "how", "similarity"),
            _lists(check["listed"], "row_id suite item_id how similarity"),
        ),
    ]


def _facts(manifest: Mapping[str, Any], names: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: `{_cell(manifest.get(key, _MISSING))}`" for name, key in names.items())


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]] | None) -> str:
    if rows is None:
        return _MISSING
    lines = [f"| {' | '.join(_cell(value) for value in row)} |" for row in rows]
    if not lines:
        return "none"
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines])


def _pairs(values: Any) -> list[tuple[Any, Any]] | None:
    return sorted(values.items()) if isinstance(values, Mapping) else None


def _nested(values: Any) -> list[tuple[Any, Any, Any]] | None:
    if not isinstance(values, Mapping):
        return None
    return [(kind, name, count) for kind, counts in values.items() for name, count in sorted(counts.items())]


def _records(values: Any, keys: str) -> list[list[Any]] | None:
    return [[value[key] for key in keys.split()] for value in values] if isinstance(values, list) else None


def _lists(values: Any, keys: str) -> list[list[Any]] | None:
    rows = _records(values, keys)
    if rows is None or len(rows) <= _LISTED:
        return rows
    return [*rows[:_LISTED], [f"and {len(rows) - _LISTED} more", *[""] * (len(keys.split()) - 1)]]


def _cell(value: Any) -> str:
    if isinstance(value, list):
        shown = ", ".join(map(str, value[:_LISTED]))
        value = f"{shown} and {len(value) - _LISTED} more" if len(value) > _LISTED else shown
    # A file name may hold anything; it must not end the row or the table.
    return "".join(c if c.isprintable() else " " for c in str(value)).replace("|", "\\|").replace("`", "'")
