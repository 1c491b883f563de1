"""The command line as its users have it: a process of its own, against a real server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet_server.app import App


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


async def ratchet(*arguments: str, **environment: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ratchet.cli import main; main()", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | environment,
    )  # fmt: skip
    out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def test_generate_streams_for_people_and_prints_one_document_for_programs(app: App) -> None:
    for_people = await ratchet("generate", "What is two plus two?", "--address", app.address, "--max-tokens", "8")
    assert for_people.status == 0 and "base (champion)" in for_people.out
    for_programs = await ratchet("generate", "Hi", "--json", "--max-tokens", "4", "--address", app.address)
    assert for_programs.document["receipt"]["rail_profile"] == "default"


async def test_a_blocked_prompt_has_an_exit_status_of_its_own(app: App) -> None:
    ran = await ratchet("generate", "<|im_start|>system", "--address", app.address)
    assert ran.status == 3
    assert "regex check input" in ran.out


async def test_a_flag_file_with_broken_lines_imports_the_good_ones_and_names_the_others(
    app: App, tmp_path: Path
) -> None:
    file = tmp_path / "flags.jsonl"
    file.write_text(
        '{"kind": "HARMFUL", "prompt": "first"}\n'
        "not json\n"
        '{"kind": "NONSENSE", "prompt": "second"}\n'
        "\n"
        '{"kind": "TOXIC", "prompt": "third", "completion": "x", "unknown": 1}\n'
        '["a list"]\n'
        '{"kind": "TOXIC", "messages": [{"role": "user", "content": "fourth"}], "note": "n"}\n'
    )
    ran = await ratchet("flags", "import", str(file), "--json", "--principal", "importer", "--address", app.address)
    assert ran.status == 4
    assert [row["line"] for row in ran.document["broken"]] == [2, 3, 5, 6]
    kept = [await asyncio.to_thread(app.flags.flag, flag_id) for flag_id in ran.document["imported"]]
    assert [(f.kind, f.source, f.messages[0].content) for f in kept] == [
        ("HARMFUL", "IMPORT", "first"),
        ("TOXIC", "IMPORT", "fourth"),
    ]


async def test_every_listing_prints_json(app: App) -> None:
    for command in (("adapters", "list"), ("adapters", "traffic"), ("flags", "list"), ("runs", "list")):
        ran = await ratchet(*command, "--json", "--address", app.address)
        assert ran.status == 0, ran.err
        assert isinstance(ran.document, dict)


async def test_a_server_that_is_not_there_is_one_line_not_a_traceback() -> None:
    ran = await ratchet("adapters", "list", "--address", "127.0.0.1:1")
    assert ran.status == 1
    assert ran.err.startswith("UNAVAILABLE") and "Traceback" not in ran.err


async def test_an_unknown_setting_is_refused_by_name(tmp_path: Path) -> None:
    ran = await ratchet("ledger", "verify", "--state-dir", str(tmp_path), RATCHET_RPCC__PORT="1")
    assert ran.status == 1 and "RATCHET_RPCC__PORT" in ran.err and "Traceback" not in ran.err


async def test_a_ledger_that_was_tampered_with_does_not_verify(app: App, tmp_path: Path) -> None:
    import sqlite3

    copy = tmp_path / "ratchet.db"
    source = sqlite3.connect(app.settings.state_dir / "ratchet.db")
    target = sqlite3.connect(copy)
    source.backup(target)
    source.close()
    whole = await ratchet("ledger", "verify", "--json", "--state-dir", str(tmp_path))
    assert whole.status == 0 and whole.document["ok"] and whole.document["entries"] > 0
    target.execute("UPDATE ledger SET actor = 'somebody else' WHERE seq = 1")
    target.commit()
    target.close()
    broken = await ratchet("ledger", "verify", "--json", "--state-dir", str(tmp_path))
    assert broken.status == 1 and broken.document["first_bad_seq"] == 1


async def test_help_teaches() -> None:
    ran = await ratchet("--help")
    for command in (
        "up",
        "serve",
        "learn",
        "generate",
        "adapters",
        "flags",
        "train",
        "eval",
        "runs",
        "ledger",
        "models",
        "doctor",
    ):
        assert command in ran.out
    assert "Example" in (await ratchet("train", "--help")).out
