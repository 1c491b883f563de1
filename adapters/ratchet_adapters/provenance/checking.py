"""Checks an evidence bundle by itself, without the registry it came from.

It must not need a network, a database or a key; with a verifier it checks the signature too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet_adapters.artifacts.digest import bytes_digest, canonical_json
from ratchet_adapters.artifacts.errors import ArtifactRefused
from ratchet_adapters.artifacts.manifest import is_safe_name, walk_files
from ratchet_adapters.evals.gates.page import REPORT_JSON
from ratchet_adapters.provenance.chain import check_chain
from ratchet_adapters.provenance.document import Lineage
from ratchet_adapters.provenance.errors import EvidenceInvalid
from ratchet_adapters.provenance.evidence import FORMAT, INDEX, LEDGER, LINEAGE, SIGNATURE
from ratchet_adapters.provenance.signing import Verifier
from ratchet_adapters.provenance.statement import open_statement

__all__ = ["CheckedEvidence", "check_evidence"]


@dataclass(frozen=True, slots=True)
class CheckedEvidence:
    """What held.

    Attributes:
        adapter: Digest of the adapter it is about.
        lineage: Digest of the lineage document.
        head_seq: Number of the last ledger entry in it.
        head_hash: Its hash, to compare with one that was kept elsewhere.
        entries: Number of ledger entries in it.
        signed_by: Id of the trusted key; "" when no verifier was given.
        signed_lineage: Digest of the lineage the signer saw; "" when no verifier was given.
    """

    adapter: str
    lineage: str
    head_seq: int
    head_hash: str
    entries: int
    signed_by: str
    signed_lineage: str


def check_evidence(folder: Path, verifier: Verifier | None = None) -> CheckedEvidence:
    """Check that a bundle is whole: every file's digest, the lineage, the ledger's chain, what one says of the other.

    A bundle without a signature or an independently kept ledger head shows that it agrees with itself, no more: who
    rewrote all of it could write it so.

    Raises:
        EvidenceInvalid: A file is missing, was changed or added, or contradicts another.
        LedgerBroken: The ledger entries are no chain.
        LineageBroken: The lineage was changed.
        SignatureInvalid, SignerUntrusted: With a verifier.
    """
    index, files = _index(folder)
    lineage = Lineage.from_json(files[LINEAGE])
    if (lineage.digest, lineage.adapter.digest) != (index.get("lineage"), index.get("adapter")):
        raise EvidenceInvalid(folder, "its index is of another lineage")
    try:
        written = [json.loads(line) for line in files[LEDGER].splitlines()]
    except ValueError as error:
        raise EvidenceInvalid(folder, f"{LEDGER} is not JSON lines") from error
    if not all(isinstance(entry, dict) for entry in written):
        raise EvidenceInvalid(folder, f"{LEDGER} holds something that is no entry")
    head = check_chain(written)
    if head is None or {"seq": head.seq, "hash": head.hash} != index.get("ledger_head"):
        raise EvidenceInvalid(folder, "its ledger does not end where its index says")
    hashes = {entry["seq"]: entry for entry in written}
    for entry in lineage.ledger:
        if hashes.get(entry.seq, {}).get("hash") != entry.hash:
            raise EvidenceInvalid(folder, f"the lineage names entry {entry.seq} of the ledger with another hash")
    for number, gate in enumerate(lineage.gates, start=1):
        body = json.loads(files.get(f"gate-{number}/{REPORT_JSON}", b"null"))
        digest = bytes_digest(canonical_json(body).encode())
        if digest != gate.body_digest or hashes[gate.ledger_seq]["payload"].get("body") != digest:
            raise EvidenceInvalid(folder, f"gate report {number} is not the one that the ledger recorded")
    signed_by = signed_lineage = ""
    if verifier is not None:
        if SIGNATURE not in files:
            raise EvidenceInvalid(folder, "it holds no signature")
        statement = open_statement(files[SIGNATURE], lineage.adapter.digest, verifier)
        signed_by, signed_lineage = statement.key_id, statement.lineage
    return CheckedEvidence(
        lineage.adapter.digest, lineage.digest, head.seq, head.hash, len(written), signed_by, signed_lineage
    )


def _index(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    try:
        found = {name: path.read_bytes() for name, path in walk_files(folder)}
        index = json.loads(found.pop(INDEX))
    except (ArtifactRefused, OSError, KeyError, ValueError) as error:
        raise EvidenceInvalid(folder, f"its {INDEX} cannot be read ({error})") from error
    if not isinstance(index, dict) or index.get("format") != FORMAT or not isinstance(index.get("files"), dict):
        raise EvidenceInvalid(folder, f"its {INDEX} is not of format {FORMAT}")
    named = index["files"]
    if {LINEAGE, LEDGER} - named.keys() or not all(is_safe_name(name) for name in named):
        raise EvidenceInvalid(folder, f"its {INDEX} does not name the lineage and the ledger")
    if wrong := sorted(found.keys() ^ named.keys()):
        raise EvidenceInvalid(folder, f"{', '.join(wrong[:5])} is missing or was added")
    for name, content in found.items():
        if bytes_digest(content) != named[name]:
            raise EvidenceInvalid(folder, f"{name} was changed")
    return index, found
