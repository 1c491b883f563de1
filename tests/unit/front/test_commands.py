"""`ratchet api-keys` and the examples, as people run them."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.front.conftest import Serve
from typer.testing import CliRunner

from ratchet_adapters.access import KeyStore
from ratchet_adapters.registry import Registry
from ratchet_server.cli import api_keys

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RATCHET_STATE_DIR", str(tmp_path))

    def command(*arguments: str) -> Any:
        return CliRunner().invoke(api_keys.app, arguments)

    return command


def test_a_key_is_shown_once_and_lives_as_the_commands_say(run: Any, tmp_path: Path) -> None:
    made = run("create", "webshop", "--role", "app", "--tenant", "shop", "--days", "90")
    plain = made.stdout.strip()
    ident = plain.split("_")[1]
    listed = json.loads(run("list", "--json").stdout)
    assert [(k["id"], k["name"], k["roles"], k["tenant"]) for k in listed] == [(ident, "webshop", ["app"], "shop")]
    assert plain not in run("list").stdout + run("list", "--json").stdout
    turned = json.loads(run("rotate", ident, "--grace-hours", "0", "--json").stdout)
    assert turned["key"] != plain and turned["roles"] == ["app"]
    assert run("revoke", turned["id"]).exit_code == 0
    assert {k["state"] for k in json.loads(run("list", "--json").stdout)} == {"expired", "revoked"}
    for wrong in (("create", "x", "--role", "god"), ("create", "x"), ("revoke", "nope"), ("rotate", ident)):
        failed = run(*wrong)
        assert failed.exit_code and "Traceback" not in failed.output
    with Registry.open(f"sqlite:///{tmp_path}/ratchet.db") as registry:
        assert registry.verify_ledger().ok
        assert plain[16:] not in "".join(str(key) for key in KeyStore.open(registry).all())


async def test_the_examples_run(serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("One?\n\nTwo?\n")
    async with serve() as served:
        assert served.front.http is not None

        def example(name: str, *arguments: str) -> str:
            before = sys.argv
            sys.argv = [name, *arguments]
            try:
                runpy.run_path(str(EXAMPLES / name), run_name="__main__")
            except SystemExit as end:
                assert not end.code, capsys.readouterr()
            finally:
                sys.argv = before
            return capsys.readouterr().out

        assert "Paris is it." in await asyncio.to_thread(example, "chat.py", "Hi", served.address)
        assert (await asyncio.to_thread(example, "many.py", str(prompts), served.address)).count("Paris is it.") == 2
        shown = await asyncio.to_thread(example, "openai_client.py", f"{served.front.http.url}/v1")
        assert "Paris is it." in shown and "adapter: base" in shown
