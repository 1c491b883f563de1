"""The bundle claims what is recorded and nothing else, and any change of it is found without the registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.unit.provenance.conftest import KeyPair, World

from ratchet_adapters.provenance.checking import check_evidence
from ratchet_adapters.provenance.errors import (
    EvidenceInvalid,
    LedgerBroken,
    LineageBroken,
    ProvenanceError,
    SignerUntrusted,
)
from ratchet_adapters.provenance.evidence import write_evidence
from ratchet_adapters.provenance.findings import FINDINGS
from ratchet_adapters.provenance.frameworks import FRAMEWORKS
from ratchet_adapters.provenance.lineage import lineage_of
from ratchet_adapters.provenance.statement import sign_adapter
from ratchet_adapters.provenance.verification import keep_signature


def headings(folder: Path) -> dict[str, list[str]]:
    """Evidence by heading."""
    index = json.loads((folder / "index.json").read_text())
    return {one["id"]: one["evidence"] for framework in index["frameworks"] for one in framework["headings"]}


@pytest.fixture
def bundle(world: World, keys: KeyPair, tmp_path: Path) -> Path:
    """The evidence on the promoted adapter, signed."""
    lineage = lineage_of(world.registry, world.artifacts, world.learned)
    signature = keep_signature(world.state / "signatures", world.learned, sign_adapter(lineage, keys.signer))
    write_evidence(world.registry, world.artifacts, world.learned, tmp_path / "evidence", signature=signature)
    return tmp_path / "evidence"


def test_every_heading_asks_for_findings_that_exist() -> None:
    asked = {name for one in FRAMEWORKS for heading in one.headings for name in heading.findings}
    assert asked - {"signature"} <= set(FINDINGS)
    assert [len(one.headings) for one in FRAMEWORKS] == [18, 19, 6]


def test_it_holds_everything_and_checks_by_itself(bundle: Path, world: World, keys: KeyPair) -> None:
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert names == {
        "index.json", "index.md", "lineage.json", "lineage.schema.json", "card.md", "ledger.jsonl",
        "signature.dsse.json", "dataset/DATASHEET.md", "dataset/manifest.json", "gate-1/gate-report.json",
        "gate-1/gate-report.html",
    }  # fmt: skip
    held = check_evidence(bundle, keys.verifier)
    last = world.registry.ledger(after_seq=held.head_seq - 1)
    assert [entry.hash for entry in last] == [held.head_hash]
    assert (held.adapter, held.signed_by, held.signed_lineage) == (world.learned, keys.key_id, held.lineage)


def test_only_what_is_recorded_is_claimed(bundle: Path, world: World, tmp_path: Path) -> None:
    full = headings(bundle)
    assert {name for name, lines in full.items() if not lines} == {
        "1(a)", "1(c)", "2(f)", "4", "5", "7", "8", "9", "GOVERN 3", "GOVERN 4", "GOVERN 5", "MAP 1", "MAP 3", "MAP 5",
        "MEASURE 4", "MANAGE 2",
    }  # fmt: skip
    assert any("1 flags reviewed by 1 reviewers" in line for line in full["11.9.6"])
    write_evidence(world.registry, world.artifacts, world.uploaded, tmp_path / "other")
    bare = headings(tmp_path / "other")
    assert (bare["11.9.2"], bare["11.9.6"], bare["2(d)"], bare["2(h)"], bare["MEASURE 1"]) == ([], [], [], [], [])
    page = (tmp_path / "other" / "index.md").read_text()
    assert page.count("*no evidence in the ledger*") == sum(not lines for lines in bare.values())


def test_the_same_state_gives_the_same_bytes(bundle: Path, world: World, tmp_path: Path) -> None:
    signature = bundle / "signature.dsse.json"
    write_evidence(world.registry, world.artifacts, "champion", tmp_path / "again", signature=signature)
    assert (tmp_path / "again" / "index.json").read_bytes() == (bundle / "index.json").read_bytes()


@pytest.mark.parametrize("name", ["card.md", "ledger.jsonl", "lineage.json", "gate-1/gate-report.json", "index.md"])
def test_a_changed_removed_or_added_file_is_found(bundle: Path, name: str, tmp_path: Path) -> None:
    for change in ("edit", "remove", "add"):
        copy = tmp_path / change
        shutil.copytree(bundle, copy)
        path = copy / name
        if change == "edit":
            path.write_bytes(path.read_bytes().replace(b"e", b"3", 1))
        elif change == "remove":
            path.unlink()
        else:
            (copy / "extra.md").write_text("more")
        with pytest.raises(EvidenceInvalid):
            check_evidence(copy)


def reindexed(bundle: Path, name: str, content: bytes) -> None:
    """Change a file and make the index fit it, as a forger would."""
    from ratchet_adapters.artifacts import bytes_digest

    (bundle / name).write_bytes(content)
    index = json.loads((bundle / "index.json").read_text())
    index["files"][name] = bytes_digest(content)
    (bundle / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("change", ["edit", "remove", "swap", "end"])
def test_a_forged_ledger_is_found_although_the_index_fits(bundle: Path, change: str) -> None:
    lines = (bundle / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    if change == "edit":
        lines[4] = lines[4].replace(b'"actor": "', b'"actor": "x')
    elif change == "remove":
        del lines[4]
    elif change == "swap":
        lines[4], lines[5] = lines[5], lines[4]
    else:
        del lines[-1]
    reindexed(bundle, "ledger.jsonl", b"".join(lines))
    with pytest.raises((LedgerBroken, EvidenceInvalid)):
        check_evidence(bundle)


def test_a_forged_lineage_or_report_is_found_although_the_index_fits(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    reindexed(bundle, "lineage.json", (bundle / "lineage.json").read_bytes().replace(b'"ann"', b'"eve"'))
    with pytest.raises(LineageBroken):
        check_evidence(bundle)
    report = (copy / "gate-1/gate-report.json").read_bytes()
    reindexed(copy, "gate-1/gate-report.json", report.replace(b"0.9", b"0.8"))
    with pytest.raises(EvidenceInvalid, match="gate report 1"):
        check_evidence(copy)


def test_a_signature_of_somebody_else_does_not_count(bundle: Path, stranger: KeyPair) -> None:
    with pytest.raises(SignerUntrusted):
        check_evidence(bundle, stranger.verifier)


def test_it_overwrites_nothing_and_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(EvidenceInvalid):
        write_evidence(world.registry, world.artifacts, world.learned, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert not list(tmp_path.glob(".out-*"))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "ratchet.evidence/1", "files": {"../x": "y"}}'])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(ProvenanceError):
        check_evidence(tmp_path)
