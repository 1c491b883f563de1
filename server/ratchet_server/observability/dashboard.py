"""Builds the Grafana dashboard: `python -m ratchet_server.observability.dashboard > deploy/grafana/dashboard.json`.

It must not decide what is asked of Prometheus; `panels.py` does. Needs grafana-foundation-sdk,
from the dev extra; nothing else imports this module.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from grafana_foundation_sdk.builders import common as look
from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import prometheus as query_model

from ratchet_server.observability.panels import ANNOTATIONS, CHANGE, ROLLOUTS, SAFETY, TRAFFIC, Panel, Query

__all__ = ["build"]

_SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


def build() -> dict[str, Any]:
    """Return the dashboard as JSON data, ready to be imported into Grafana 11 or later."""
    board = (
        dashboard.Dashboard("Ratchet: safety and serving")
        .uid("ratchet")
        .description("Refusal and toxicity by adapter, with promotions and rollbacks marked, and what serving costs.")
        .tags(["ratchet", "llm", "safety"])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    board.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for name in ("adapter", "profile"):
        board.with_variable(_variable(name))
    for each in ANNOTATIONS:
        board.annotation(
            dashboard.AnnotationQuery().name(each.name).datasource(_SOURCE).enable(True).icon_color(each.colour)
            .expr(each.expr)
        )  # fmt: skip
    for panel in _stats():
        board.with_panel(panel)
    rows = (("Safety", SAFETY), ("Traffic", TRAFFIC), ("Adapters and learning", CHANGE), ("Rollouts", ROLLOUTS))
    for title, panels in rows:
        board.with_row(dashboard.Row(title))
        for spec in panels:
            board.with_panel(_time_series(spec))
    built: dict[str, Any] = json.loads(JSONEncoder(sort_keys=True).encode(board.build()))
    _complete_annotations(built)
    return built


def _variable(name: str) -> Any:
    return (
        dashboard.QueryVariable(name)
        .label(name.capitalize())
        .query(f"label_values(ratchet_requests_total, {name})")
        .datasource(_SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # The default "all" lists the values found; this one keeps panels right when an adapter appears later.
        .all_value(".*")
        .current(model.VariableOption(selected=True, text="All", value="$__all"))
    )


def _target(query: Query) -> Any:
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend).range()


def _time_series(spec: Panel) -> Any:
    panel = (
        timeseries.Panel()
        .title(spec.title)
        .description(spec.description)
        .datasource(_SOURCE)
        .unit(spec.unit)
        .min(0)
        .span(spec.span)
        .height(8)
        .line_width(2)
        .fill_opacity(25 if spec.stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
    )
    if spec.most is not None:
        panel.axis_soft_max(spec.most)
    if spec.stacked:
        panel.stacking(look.StackingConfig().mode(common.StackingMode.NORMAL))
    for query in spec.queries:
        panel.with_target(_target(query))
    return panel


def _stats() -> list[Any]:
    """Return the row of figures on top: champion, engine, failed rail verdicts, error ratio."""
    bad = ((None, "green"), (1e-9, "red"))
    specs = (
        ("Champion", Query("max by (adapter) (ratchet_champion_info)", "{{adapter}}"), "none", ((None, "blue"),)),
        ("Engines ready", Query("sum(ratchet_engine_ready)", "ready"), "none", ((None, "red"), (1, "green"))),
        ("Requests waiting in the engine", Query("sum(ratchet_engine_requests_waiting)", "waiting"), "none",
         ((None, "green"), (20, "orange"))),
        ("Failed rail verdicts, 1 h",
         Query('sum(increase(ratchet_rail_verdicts_total{outcome="failed"}[1h]))', "failed"), "none", bad),
        ("Request errors, 5 min", Query(
                "(sum(rate(ratchet_request_errors_total[5m])) or vector(0)) "
                "/ (sum(rate(ratchet_requests_total[5m])) > 0)", "errors"), "percentunit", bad),
        ("Promotions, 24 h", Query("sum(increase(ratchet_promotions_total[24h]))", "promotions"), "none",
         ((None, "blue"),)),
    )  # fmt: skip
    panels = []
    for title, query, unit, steps in specs:
        thresholds = [model.Threshold(value=value, color=colour) for value, colour in steps]
        panel = (
            stat.Panel().title(title).datasource(_SOURCE).unit(unit).span(4).height(4)
            .thresholds(dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(thresholds))
            .graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
            .with_target(_target(query).instant().format(query_model.PromQueryFormat.TIME_SERIES))
        )  # fmt: skip
        if title == "Champion":
            panel.text_mode(common.BigValueTextMode.NAME)
        panels.append(panel)
    return panels


def _complete_annotations(built: dict[str, Any]) -> None:
    """Add the fields Grafana's Prometheus source reads from an annotation and the SDK does not have."""
    wanted = {each.name: each for each in ANNOTATIONS}
    for annotation in built["annotations"]["list"]:
        spec = wanted[annotation["name"]]
        annotation.update(step="15s", tagKeys="", textFormat="", titleFormat=spec.title, useValueForTime=True)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(build(), indent=2, sort_keys=True) + "\n")
