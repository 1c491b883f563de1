"""The gate report: whole in JSON, safe and self-contained in HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.evals.errors import ResultUnreadable
from ratchet_adapters.evals.gates.decide import decide
from ratchet_adapters.evals.gates.page import render_page, write_report
from ratchet_adapters.evals.gates.plot import forest_plot
from ratchet_adapters.evals.gates.report import GateReport
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.result import EvalResult

Make = Callable[..., EvalResult]


@pytest.fixture
def report(result_of: Make, changed: Any) -> GateReport:
    def nasty(suite: Any) -> Any:
        return replace(suite, items=tuple(replace(item, answer="<script>alert(1)</script>") for item in suite.items))

    candidate = changed(result_of(), Axis.HARMFUL_REFUSAL, nasty)
    return decide(candidate, result_of("", harmful_refusal=0.05, over_refusal=0.10))


def test_a_report_survives_json_unchanged(report: GateReport) -> None:
    again = GateReport.from_json(report.to_json())
    assert again.to_dict() == report.to_dict()
    assert again.axes == report.axes and again.flips == report.flips and again.outcome is report.outcome
    assert GateReport.from_dict(report.to_dict()) == again


def test_a_report_of_nothing_is_strict_json_without_nan() -> None:
    text = decide(EvalResult("a", ()), EvalResult("b", ())).to_json()
    assert json.loads(text, parse_constant=pytest.fail)["axes"][0]["champion"] is None


def test_infinite_limits_become_null_in_json(result_of: Make, changed: Any) -> None:
    def one_cluster(suite: Any) -> Any:
        return replace(suite, items=tuple(replace(item, cluster="only") for item in suite.items))

    candidate, champion = (changed(result_of(name), Axis.NLL, one_cluster) for name in ("a", "b"))
    report = decide(candidate, champion)
    assert next(axis for axis in report.axes if axis.axis == "nll").outcome == "INCONCLUSIVE"
    assert "Infinity" not in report.to_json()
    assert GateReport.from_json(report.to_json()).outcome == report.outcome
    assert "not measured" in forest_plot(report.axes)


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_a_damaged_report_is_refused(text: str) -> None:
    with pytest.raises(ResultUnreadable):
        GateReport.from_json(text)


def test_flips_hold_both_answers_and_their_direction(report: GateReport) -> None:
    gained = [flip for flip in report.flips if flip.axis == "harmful_refusal"]
    assert len(gained) == 170 and all(flip.better for flip in gained)
    assert gained[0].candidate_answer.startswith("<script>") and gained[0].champion_answer == "answer"
    fewer = [flip for flip in report.flips if flip.axis == "over_refusal"]
    assert len(fewer) == 10 and all(flip.better for flip in fewer)


class _Outside(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]


def test_the_page_loads_nothing_and_runs_nothing(report: GateReport) -> None:
    page = render_page(report)
    parser = _Outside()
    parser.feed(page)
    assert not {"script", "link", "img", "iframe"} & set(parser.tags)
    assert all(reference.startswith("#") for reference in parser.references)
    assert re.search(r"url\((?!#)", page) is None and "@import" not in page


def test_the_page_shows_the_outcome_every_axis_and_the_plot(report: GateReport) -> None:
    page = render_page(report)
    for wanted in (report.outcome.value, report.id, "Became worse", "<svg", *(axis.axis for axis in report.axes)):
        assert wanted in page


def test_both_files_are_written(report: GateReport, tmp_path: Path) -> None:
    json_path, html_path = write_report(report, tmp_path / "new" / "folder")
    assert GateReport.from_json(json_path.read_text(encoding="utf-8")).id == report.id
    assert html_path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_same_report_is_drawn_the_same(report: GateReport) -> None:
    assert forest_plot(report.axes) == forest_plot(report.axes)
