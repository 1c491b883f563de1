"""The evidence bundle of an adapter: a folder of files, and an index of which answers which heading.

It must not claim anything: a heading that no recorded fact answers says so.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ratchet_adapters.artifacts import ArtifactStore
from ratchet_adapters.artifacts.digest import bytes_digest
from ratchet_adapters.datasets.dataset import MANIFEST
from ratchet_adapters.datasets.datasheet import DATASHEET, datasheet
from ratchet_adapters.evals.errors import ResultUnreadable
from ratchet_adapters.evals.gates.page import REPORT_HTML, REPORT_JSON, render_page
from ratchet_adapters.evals.gates.report import GateReport
from ratchet_adapters.provenance.card import model_card
from ratchet_adapters.provenance.chain import entries, entry_json
from ratchet_adapters.provenance.document import Lineage
from ratchet_adapters.provenance.errors import EvidenceInvalid
from ratchet_adapters.provenance.findings import found
from ratchet_adapters.provenance.frameworks import FRAMEWORKS
from ratchet_adapters.provenance.lineage import dataset_of, lineage_of
from ratchet_adapters.registry import Registry

__all__ = ["FORMAT", "INDEX", "LEDGER", "LINEAGE", "NOTHING", "write_evidence"]

FORMAT = "ratchet.evidence/1"
INDEX, LEDGER, LINEAGE, SIGNATURE = "index.json", "ledger.jsonl", "lineage.json", "signature.dsse.json"
NOTHING = "no evidence in the ledger"


def write_evidence(
    registry: Registry, artifacts: ArtifactStore, ref: str, out: Path, *, signature: Path | None = None
) -> Lineage:
    """Write the bundle of an adapter into a folder that is not there yet, whole or not at all.

    Args:
        registry: With its ledger.
        artifacts: Holds the adapter's folder, and its dataset's when there is one.
        ref: Digest, prefix or alias of the adapter.
        out: The folder to make.
        signature: File with the adapter's signed statement; None, or absent: it is not signed.

    Returns:
        The lineage that was written.

    Raises:
        EvidenceInvalid: `out` is there already and holds something.
        OSError: It cannot be written.
        The errors of `lineage_of`.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise EvidenceInvalid(out, "it exists and is not an empty folder; choose another place")
    lineage = lineage_of(registry, artifacts, ref)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        folder.chmod(0o755)
        for name, content in _files(registry, artifacts, lineage, signature):
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        if out.exists():
            out.rmdir()
        os.replace(folder, out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return lineage


def _files(
    registry: Registry, artifacts: ArtifactStore, lineage: Lineage, signature: Path | None
) -> Iterable[tuple[str, bytes]]:
    files: dict[str, bytes] = {
        LINEAGE: lineage.to_json().encode(),
        "lineage.schema.json": _json(Lineage.model_json_schema()),
        "card.md": model_card(lineage).encode(),
        LEDGER: _ledger(registry, lineage.ledger[0].seq),
    }
    dataset = dataset_of(artifacts, lineage)
    if dataset is not None:
        files[f"dataset/{MANIFEST}"] = _json(dict(dataset.manifest))
        files[f"dataset/{DATASHEET}"] = datasheet(dataset.manifest).encode()
    for number, gate in enumerate(lineage.gates, start=1):
        body = registry.report(gate.report_id).body
        files[f"gate-{number}/{REPORT_JSON}"] = _json(body)
        try:
            files[f"gate-{number}/{REPORT_HTML}"] = render_page(GateReport.from_dict(body)).encode()
        except ResultUnreadable:
            # A report of another version has no page here; its JSON is what the ledger vouches for.
            continue
    if signature is not None and signature.is_file():
        files[SIGNATURE] = signature.read_bytes()
    index = _index(lineage, files)
    files["index.md"] = _page(index).encode()
    index["files"]["index.md"] = bytes_digest(files["index.md"])
    files[INDEX] = _json(index)
    return files.items()


def _ledger(registry: Registry, first: int) -> bytes:
    """Every entry from the first about the adapter to the head: a chain with holes would vouch for nothing."""
    lines = (json.dumps(entry_json(entry), sort_keys=True) + "\n" for entry in entries(registry, first - 1))
    return "".join(lines).encode()


def _index(lineage: Lineage, files: dict[str, bytes]) -> dict[str, Any]:
    last = json.loads(files[LEDGER].splitlines()[-1])
    return {
        "format": FORMAT,
        "adapter": lineage.adapter.digest,
        "lineage": lineage.digest,
        "ledger_head": {"seq": last["seq"], "hash": last["hash"]},
        "signed": SIGNATURE in files,
        "files": {name: bytes_digest(content) for name, content in sorted(files.items())},
        "frameworks": [
            {
                "name": framework.name,
                "source": framework.source,
                "headings": [
                    {
                        "id": heading.id,
                        "title": heading.title,
                        "evidence": _evidence(lineage, heading.findings, signed=SIGNATURE in files),
                    }
                    for heading in framework.headings
                ],
            }
            for framework in FRAMEWORKS
        ],
        "gaps": list(lineage.gaps),
    }


def _evidence(lineage: Lineage, findings: tuple[str, ...], *, signed: bool) -> list[str]:
    lines = found(lineage, tuple(name for name in findings if name != "signature"))
    if signed and "signature" in findings:
        lines.append(f"{SIGNATURE}: a signed statement on the adapter; verify it with the signer's public key")
    return lines


def _page(index: dict[str, Any]) -> str:
    parts = [
        "# Evidence",
        f"Adapter `{index['adapter']}`, lineage `{index['lineage']}`.",
        f"Ledger head: entry {index['ledger_head']['seq']}, `{index['ledger_head']['hash']}`. Compare it with a head "
        "that was kept elsewhere.",
        f'"{NOTHING}" means what it says: nothing recorded answers the heading. That is for people to answer.',
    ]
    for framework in index["frameworks"]:
        parts.append(f"## {framework['name']}\n\n{framework['source']}")
        rows = ["| heading | evidence |", "|---|---|"]
        for heading in framework["headings"]:
            shown = "<br>".join(_cell(line) for line in heading["evidence"]) or f"*{NOTHING}*"
            rows.append(f"| {heading['id']} {heading['title']} | {shown} |")
        parts.append("\n".join(rows))
    parts.append("## Not known\n\n" + ("\n".join(f"- {_cell(gap)}" for gap in index["gaps"]) or "Nothing is missing."))
    parts.append("## Files\n\n" + "\n".join(f"- `{name}`: `{digest}`" for name, digest in index["files"].items()))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
