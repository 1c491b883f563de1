"""A real Prometheus scrapes the exporter with the shipped rules: every panel has data, the recording rules too."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from ratchet_server.observability.dashboard import build
from ratchet_server.observability.exporter import start
from ratchet_server.observability.metrics import Metrics

CONFIG = """
global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: [{rules}]
scrape_configs: [{{job_name: ratchet, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ask(base: str, path: str, **parameters: str) -> Any:
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)["data"]


def wait_until_up(base: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(150):
        assert process.poll() is None, "prometheus ended"
        try:
            urllib.request.urlopen(f"{base}/-/ready", timeout=1).close()
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("prometheus did not become ready within 15 s")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, see_everything: Callable[[Metrics], None]) -> Iterator[str]:
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not on PATH (Debian: apt-get install prometheus)")
    folder = tmp_path_factory.mktemp("prometheus")
    rules = folder / "rules.yml"
    shipped = (Path(__file__).parents[3] / "deploy" / "prometheus" / "rules.yml").read_text()
    rules.write_text(shipped.replace("interval: 30s", "interval: 200ms"))
    metrics = Metrics(CollectorRegistry())
    with start(metrics) as exporter:
        (folder / "prometheus.yml").write_text(CONFIG.format(rules=rules, port=exporter.port))
        base = f"http://127.0.0.1:{free_port()}"
        process = subprocess.Popen(
            [binary, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address={base.removeprefix('http://')}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until_up(base, process)
            scraped = 0
            # Prometheus takes up to 5 s to begin with its first target.
            for _ in range(100):
                see_everything(metrics)
                time.sleep(0.2)
                scraped += bool(ask(base, "query", query="up == 1")["result"])
                if scraped == 15:
                    break
            assert scraped == 15, "the exporter was not scraped for 3 s"
            yield base
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_every_panel_and_mark_gets_series_that_are_numbers(prometheus: str, substitute: Callable[[str], str]) -> None:
    board = build()
    queries = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", ())]
    queries += [(mark["name"], mark["expr"]) for mark in board["annotations"]["list"]]
    now = time.time()
    empty = []
    for title, expr in queries:
        data = ask(prometheus, "query_range", query=substitute(expr), start=f"{now - 2}", end=f"{now}", step="0.5")
        values = [float(point[1]) for series in data["result"] for point in series["values"]]
        if not any(value == value for value in values):
            empty.append((title, expr))
    assert not empty


def test_the_variables_offer_the_adapters_and_profiles_seen(prometheus: str) -> None:
    match = {"match[]": "ratchet_requests_total"}
    assert ask(prometheus, "label/adapter/values", **match) == ["abababababab", "base"]
    assert ask(prometheus, "label/profile/values", **match) == ["default"]


def test_the_shipped_rules_load_and_their_expressions_run(prometheus: str) -> None:
    groups = ask(prometheus, "rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == 15
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    firing = {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] == "firing"}
    assert "RatchetRailFailed" in firing
    assert "RatchetEngineNotReady" not in firing
