"""Two server processes on one database: a rollback by a third is in force in both within a second of its commit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ratchet_adapters.artifacts import open_store
from ratchet_adapters.registry import AdapterRecord, Registry, ReportRecord

WORKER = Path(__file__).with_name("routing_worker.py")
ROOT = Path(__file__).parents[2]


def test_a_rollback_is_in_force_on_every_server_within_a_second(
    database_url: str,
    registry: Registry,
    new_adapter: Callable[..., AdapterRecord],
    new_report: Callable[..., ReportRecord],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    artifacts = open_store(str(tmp_path / "artifacts"))
    digests = []
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        (folder / "adapter_config.json").write_text(name)
        digests.append(artifacts.put_folder(folder))
        registry.add_adapter(replace(new_adapter(name), digest=digests[-1]), "me")
        registry.add_report(new_report(digests[-1], registry.routing().champion))
        registry.promote(digests[-1], expected_champion=None, actor="me", reason="")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    servers = [
        subprocess.Popen(
            [sys.executable, str(WORKER), database_url, str(tmp_path / "artifacts")],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )
        for _ in range(2)
    ]  # fmt: skip
    try:
        heard = [[_next(server), _next(server)] for server in servers]
        assert [facts[1]["champion"] for facts in heard] == [digests[1]] * 2
        delays = []
        for champion in (digests[0], ""):
            version = registry.rollback(actor="me", reason="worse").version
            committed = time.time()
            for server in servers:
                fact = _next(server)
                assert (fact["version"], fact["champion"]) == (version, champion)
                delays.append(fact["at"] - committed)
            time.sleep(0.1)
    finally:
        for server in servers:
            server.kill()
            server.wait()
    record_property("delays_s", delays)
    sys.stdout.write(f"delays from commit to effect: {[round(1e3 * delay) for delay in delays]} ms\n")
    assert max(delays) < 1.0


def _next(server: subprocess.Popen[str]) -> dict[str, float]:
    assert server.stdout is not None
    line = server.stdout.readline()
    if not line:
        pytest.fail(f"a server process ended with status {server.wait()}")
    fact: dict[str, float] = json.loads(line)
    return fact
