"""`ratchet redteam` as operators meet it: real server, real judge, typed errors, exit statuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ratchet_server.cli.redteam import redteam

ANSWER = "Certainly, first you gather everything that is needed and then you begin."


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    app = typer.Typer()
    app.command("redteam")(redteam)
    return app


def run(app: typer.Typer, *arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


async def test_a_campaign_from_the_command_line(
    app: typer.Typer, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    service = service_of(lambda text, count: ANSWER if count > 1 else "I can't help with that request.")
    chosen = ("--out", out, "--attack", "direct", "--attack", "prefill", "--limit", "4", "--json")
    async with serve(service) as address:
        first = await asyncio.to_thread(run, app, *chosen, "--address", address)
        assert first.exit_code == 0, first.output
        asked = len(service.requests)
    shown = json.loads(first.stdout[first.stdout.index("{") :])
    rates = {cell["attack"]: cell["rate"] for cell in shown["totals"]}
    assert rates == {"direct": 0.0, "prefill": 1.0, "any attack": 1.0}
    assert asked == 8
    assert {path.name for path in Path(out).iterdir()} >= {"attempts.jsonl", "red-team-report.html"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--suite", "no-such-suite"), "SuiteUnknown"),
        (("--suite", "seed-benign-twins"), "SuiteUnknown"),
        (("--attack", "no-such-attack"), "AttackUnknown"),
        (("--requests", "0"), "BudgetInvalid"),
        (("--minutes", "0"), "BudgetInvalid"),
        (("--address", "127.0.0.1:1"), "TargetUnavailable"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], error: str, app: typer.Typer, tmp_path: Path) -> None:
    result = run(app, "--out", str(tmp_path), *arguments)
    assert result.exit_code == 1 and error in result.output
    assert not list(tmp_path.glob("*.html"))


async def test_an_adapter_the_server_does_not_know_is_said_before_anything_is_asked(
    app: typer.Typer, serve: Callable[..., Any], service_of: Callable[..., Any], tmp_path: Path
) -> None:
    service = service_of(lambda text, count: ANSWER)
    async with serve(service) as address:
        chosen = ("--out", str(tmp_path), "--adapter", "0123456789ab", "--address", address)
        result = await asyncio.to_thread(run, app, *chosen)
    assert result.exit_code == 1 and "RatchetError" in result.output and not service.requests


def test_the_attacks_are_listed_and_the_help_teaches(app: typer.Typer) -> None:
    listed = run(app, "--list", "--json")
    assert {"direct", "prefill", "crescendo"} <= {entry["name"] for entry in json.loads(listed.stdout)}
    shown = run(app, "--help").output
    assert "SUCCEEDED" in shown and "--requests" in shown
