"""The commands end to end on a state folder: sign, verify, card, evidence, receipts, heads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from tests.unit.provenance.conftest import KeyPair, World
from tests.unit.provenance.test_ledger_properties import forge
from typer.testing import CliRunner

from ratchet_adapters.provenance.receipts import sign_receipt
from ratchet_server.cli import keys as keys_command
from ratchet_server.cli import ledger, provenance, receipts

RUNNER = CliRunner()


def app() -> typer.Typer:
    """The commands as the root command mounts them."""
    adapters = typer.Typer()
    provenance.add_commands(adapters)
    root = typer.Typer()
    root.add_typer(adapters, name="adapters")
    root.add_typer(receipts.app, name="receipts")
    root.add_typer(keys_command.app, name="keys")
    root.add_typer(ledger.app, name="ledger")
    return root


def run(*arguments: str | Path, code: int = 0) -> str:
    """Run a command and return what it printed; the exit status must be the one that is expected."""
    result = RUNNER.invoke(app(), [str(one) for one in arguments])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.output


@pytest.fixture(autouse=True)
def _own_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # The commands hand their options on as variables; a test must leave none behind.
    monkeypatch.setenv("RATCHET_STATE_DIR", str(world.state))


def test_sign_verify_card_and_evidence(world: World, tmp_path: Path) -> None:
    made = json.loads(run("keys", "new", "release", "--out", tmp_path, "--json"))
    other = json.loads(run("keys", "new", "other", "--out", tmp_path, "--json"))
    state = ("--state-dir", world.state)
    run("adapters", "verify", "champion", "--key", made["public"], *state, code=1)
    signed = json.loads(run("adapters", "sign", "champion", "--key", made["private"], "--json", *state))
    assert (signed["adapter"], signed["key_id"]) == (world.learned, made["key_id"])
    assert world.artifacts.fetch_json(signed["lineage_artifact"])["digest"] == signed["lineage"]
    held = json.loads(run("adapters", "verify", "champion", "--key", made["public"], "--json", *state))
    assert held["lineage"] == signed["lineage"]
    folder = world.artifacts.fetch(world.learned)
    run("adapters", "verify", folder, "--key", made["public"], *state)
    assert "SignerUntrusted" in run("adapters", "verify", folder, "--key", other["public"], *state, code=1)
    run("adapters", "card", world.learned, "--out", tmp_path / "CARD.md", *state)
    assert world.learned in (tmp_path / "CARD.md").read_text()
    assert json.loads(run("adapters", "lineage", "champion", *state))["digest"] == signed["lineage"]
    out = tmp_path / "evidence"
    assert json.loads(run("adapters", "evidence", "champion", "--out", out, "--json", *state))["signed"]
    assert json.loads(run("adapters", "check-evidence", out, "--key", made["public"], "--json"))["ok"]
    (out / "card.md").write_text("better")
    assert "EvidenceInvalid" in run("adapters", "check-evidence", out, code=1)
    assert "KeyExists" in run("keys", "new", "release", "--out", tmp_path, code=1)
    run("keys", "new", "../x", "--out", tmp_path, code=2)


def test_receipts_verify(keys: KeyPair, stranger: KeyPair, tmp_path: Path) -> None:
    file, answer = tmp_path / "receipt.json", tmp_path / "answer.txt"
    file.write_text(sign_receipt({"request_id": "r1"}, "hello", keys.signer))
    answer.write_text("hello")
    held = json.loads(run("receipts", "verify", file, "--key", keys.public, "--answer", answer, "--json"))
    assert (held["receipt"], held["answer_checked"]) == ({"request_id": "r1"}, True)
    run("receipts", "verify", file, "--key", stranger.public, code=1)
    answer.write_bytes(b"\xff\xfe")
    assert "another answer" in run("receipts", "verify", file, "--key", keys.public, "--answer", answer, code=1)
    run("receipts", "verify", tmp_path / "absent", "--key", keys.public, code=1)


def test_a_kept_head_shows_a_forged_end(world: World) -> None:
    state = ("--state-dir", world.state)
    kept = run("ledger", "head", *state).strip()
    run("ledger", "verify", "--expect-head", kept, *state)
    forge(world, keep=8)
    run("ledger", "verify", *state)
    assert "HeadNotFound" in run("ledger", "verify", "--expect-head", kept, *state, code=1)
    assert "InvalidInput" in run("ledger", "verify", "--expect-head", "zz", *state, code=1)
