"""A `Metrics` that has seen one of everything, what a scrape of it over HTTP returns, and what PromQL names."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from ratchet_server.observability.exporter import start
from ratchet_server.observability.metrics import Metrics

ROOT = Path(__file__).parents[3]
ADAPTER = "sha256:" + "ab" * 32
_VARIABLES = {"$__rate_interval": "2s", "$adapter": ".*", "$profile": ".*"}


def _see_everything(metrics: Metrics) -> None:
    for adapter, refused in (("", False), (ADAPTER, True)):
        metrics.request_started(adapter, "default")
        metrics.request_finished(
            adapter=adapter, profile="default", finish_reason="stop", prompt_tokens=12, completion_tokens=30,
            total_s=0.9, ttft_s=0.2, inter_token_s=[0.02, 0.03], toxicity=0.1, refused=refused,
        )  # fmt: skip
        for outcome in ("ALLOW", "BLOCK", "FAILED"):
            metrics.rail_verdict(
                profile="default", rail="toxicity", direction="OUTPUT", outcome=outcome, seconds=0.004, adapter=adapter
            )
    metrics.request_started("", "default")
    metrics.request_failed("", "default", "UNAVAILABLE")
    metrics.flag("HARMFUL", "SCORER")
    metrics.adapter_load("ok", 1.5)
    metrics.proof("pass", 0.7)
    metrics.run_step("sft-refusal", "train", 40.0)
    metrics.run_ended("sft-refusal", "SUCCEEDED")
    metrics.gate("PASS")
    metrics.swap("promote", 0.002)
    metrics.champion(ADAPTER)
    metrics.swap("rollback", 0.001)
    for arm in ("control", "candidate"):
        metrics.rollouts.answered(arm)
        metrics.rollouts.failed(arm)
    metrics.rollouts.shadow("left_out")
    metrics.rollouts.ended("rolled_back", 1_700_000_000.0)
    metrics.rollouts.under_way(ADAPTER, "canary")
    metrics.rollouts.evidence("refusal", worse=0.3, within=0.8)
    metrics.engine(running=2, waiting=1, ready=True)


def _substitute(expr: str) -> str:
    """Put values in the place of Grafana's variables."""
    for name, value in _VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, f"a variable without a value in {expr}"
    return expr


def _metric_names(expr: str) -> set[str]:
    """Return the metrics an expression selects; raises ValueError if it does not parse."""
    names: set[str] = set()

    def visit(node: Any) -> bool:
        selector = node.vector_selector if isinstance(node, promql_parser.MatrixSelector) else node
        if isinstance(selector, promql_parser.VectorSelector):
            names.add(str(selector.name))
        return True

    promql_parser.walk(promql_parser.parse(_substitute(expr)), visit)
    # The walk must have seen every name that stands there.
    assert names >= set(re.findall(r"\bratchet_[a-z0-9_]+(?=[{\[ )])", expr))
    return names


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
def scrape_text(metrics: Metrics) -> str:
    _see_everything(metrics)
    metrics.request_failed("", "default", "INVALID_ARGUMENT", started=False)
    metrics.rail_verdict(profile="default", rail="r", direction="input", outcome="allow", seconds=float("nan"))
    with start(metrics) as exporter, urllib.request.urlopen(exporter.url, timeout=5) as answer:
        body: bytes = answer.read()
    return body.decode()


@pytest.fixture
def exposed_names(scrape_text: str) -> set[str]:
    return {sample.name for family in text_string_to_metric_families(scrape_text) for sample in family.samples}


@pytest.fixture
def deploy() -> Path:
    return ROOT / "deploy"


@pytest.fixture(scope="session")
def substitute() -> Callable[[str], str]:
    return _substitute


@pytest.fixture(scope="session")
def metric_names() -> Callable[[str], set[str]]:
    return _metric_names


@pytest.fixture(scope="session")
def see_everything() -> Callable[[Metrics], None]:
    return _see_everything
