"""`ratchet fleet` and `ratchet health`, as an operator calls them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from ratchet_adapters.registry import Registry
from ratchet_server.cli import add_commands


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> typer.Typer:
    # The command puts its options into the environment, for child processes.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    made = typer.Typer()
    add_commands(made)
    return made


def test_fleet_says_who_takes_traffic_and_why_others_do_not(app: typer.Typer, tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path}/ratchet.db") as registry:
        for name in ("one", "two"):
            registry.join(name, name)
        assert registry.serve("one", "")
    done = CliRunner().invoke(app, ["fleet", "--json", "--state-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    states = {each["name"]: (each["state"], each["why"]) for each in json.loads(done.stdout)}
    assert states["one"] == ("serving", "")
    assert states["two"] == ("joining", "it has not shown yet that it can serve the champion")


def test_health_of_a_server_that_is_not_there_is_one_line_and_status_1(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["health", "--address", "127.0.0.1:1"])
    assert done.exit_code == 1
    assert done.output.strip() == "no answer from 127.0.0.1:1: UNAVAILABLE"
