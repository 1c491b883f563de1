"""The exporter over real HTTP."""

from __future__ import annotations

import shutil
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from ratchet_server.observability.errors import ExporterUnavailable
from ratchet_server.observability.exporter import start
from ratchet_server.observability.metrics import Metrics

REQUIRED = {
    "ratchet_requests_total", "ratchet_tokens_total", "ratchet_time_to_first_token_seconds_bucket",
    "ratchet_inter_token_latency_seconds_bucket", "ratchet_refusals_total", "ratchet_toxicity_bucket",
    "ratchet_rail_verdicts_total", "ratchet_swaps_total", "ratchet_swap_seconds_bucket", "ratchet_proofs_total",
    "ratchet_runs_total", "ratchet_gate_results_total", "ratchet_promotions_total", "ratchet_champion_info",
    "ratchet_engine_ready",
}  # fmt: skip


def test_a_scrape_returns_every_promised_metric(exposed_names: set[str]) -> None:
    assert exposed_names >= REQUIRED


def test_nothing_but_ratchet_metrics_is_exposed(exposed_names: set[str]) -> None:
    assert all(name.startswith("ratchet_") for name in exposed_names)


def test_port_zero_takes_a_free_port_on_loopback_and_close_frees_it(metrics: Metrics) -> None:
    exporter = start(metrics)
    assert exporter.port != 0
    assert exporter.host == "127.0.0.1"
    exporter.close()
    exporter.close()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(exporter.url, timeout=2)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", exporter.port))


def test_a_taken_port_is_a_typed_error_that_says_what_to_do(metrics: Metrics) -> None:
    with start(metrics) as first, pytest.raises(ExporterUnavailable, match="METRICS_PORT") as caught:
        start(metrics, port=first.port)
    assert caught.value.port == first.port


def test_promtool_finds_nothing_to_criticise_in_a_scrape(scrape_text: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on PATH (Debian: apt-get install prometheus)")
    # The client library adds the *_created series by itself.
    lint = subprocess.run([promtool, "check", "metrics"], input=scrape_text, capture_output=True, text=True, timeout=30)
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
