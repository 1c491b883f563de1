"""The Grafana dashboard: fresh, well formed, and about metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet_server.observability.dashboard import build


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return build()


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def test_the_committed_dashboard_is_a_fresh_build(board: dict[str, Any], deploy: Path) -> None:
    fresh = json.dumps(board, indent=2, sort_keys=True) + "\n"
    committed = (deploy / "grafana" / "dashboard.json").read_text()
    assert committed == fresh, "run: python -m ratchet_server.observability.dashboard > deploy/grafana/dashboard.json"


def test_every_query_parses_and_names_only_exposed_metrics(
    board: dict[str, Any], exposed_names: set[str], metric_names: Callable[[str], set[str]]
) -> None:
    queries = [(panel["title"], target["expr"]) for panel in panels(board) for target in panel["targets"]]
    queries += [(each["name"], each["expr"]) for each in board["annotations"]["list"]]
    assert len(queries) > 20
    for title, expr in queries:
        assert not metric_names(expr) - exposed_names, title


def test_refusal_and_toxicity_are_shown_by_adapter_with_promotions_and_rollbacks_marked(board: dict[str, Any]) -> None:
    for title in ("Refusal rate by adapter", "Toxicity by adapter"):
        (panel,) = (each for each in panels(board) if each["title"] == title)
        assert all(
            "adapter" in target["expr"] and "{{adapter}}" in target["legendFormat"] for target in panel["targets"]
        )
    marks = {each["name"]: each for each in board["annotations"]["list"]}
    assert set(marks) == {"Promotions", "Rollbacks"}
    assert all(mark["useValueForTime"] and mark["enable"] for mark in marks.values())


def test_adapter_and_profile_are_variables_read_from_an_exposed_metric(
    board: dict[str, Any], exposed_names: set[str]
) -> None:
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert set(variables) == {"datasource", "adapter", "profile"}
    for name in ("adapter", "profile"):
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variables[name]["query"])
        assert match is not None
        assert match[1] in exposed_names
        assert match[2] == name


def test_panels_do_not_overlap_and_stay_on_the_grid(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])
        }  # fmt: skip
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells


def test_every_panel_asks_the_chosen_data_source_and_has_a_title(board: dict[str, Any]) -> None:
    titles = [panel["title"] for panel in panels(board)]
    assert len(titles) == len(set(titles))
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels(board))
