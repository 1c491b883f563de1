"""demo-report/index.html: one self-contained page with the figures and the plots. Draws; measures nothing."""

from __future__ import annotations

import html
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_server.demo.figures import AXES
from ratchet_server.demo.loop import Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, BASE, TAUGHT, WARN = "#1f2933", "#9aa5b1", "#2f6f4f", "#b44d12"
GOOD_UP = {"harmful_refusal": True, "cloze_accuracy": True}
NAMES = {
    "harmful_refusal": "refusal of harmful requests",
    "over_refusal": "over-refusal of benign twins",
    "toxicity_mean": "mean toxicity of answers",
    "nll": "held-out NLL (nats/token)",
    "cloze_accuracy": "cloze accuracy",
}

_STYLE = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;color:#1f2933;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:.2rem}table{border-collapse:collapse;margin:1rem 0}
td,th{padding:.35rem .9rem;text-align:right;border-bottom:1px solid #e4e7eb}
td:first-child,th:first-child{text-align:left}.pass{color:#2f6f4f}.fail{color:#b44d12}svg{max-width:100%;height:auto}
code{background:#f3f4f6;padding:.1rem .3rem;border-radius:3px}small{color:#616e7c}
"""


def write(folder: Path, story: Story, report: dict[str, Any]) -> Path:
    """Writes report.json and index.html; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    picture = _svg(_overview(story, report))
    (folder / "overview.svg").write_text(picture, encoding="utf-8")
    page = folder / "index.html"
    page.write_text(_html(report, picture, _svg(_categories(report))), encoding="utf-8")
    return page


def rows(report: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(name, before, after, change) of the before/after table."""
    table = []
    for axis in AXES:
        before, after = report["before"][axis], report["after"][axis]
        table.append((NAMES[axis], _number(axis, before), _number(axis, after), _change(axis, before, after)))
    return table


def _number(axis: str, value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3f}" if axis in ("nll", "toxicity_mean") else f"{value:.1%}"


def _change(axis: str, before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    if axis == "nll":
        return f"{after / before - 1:+.1%}"
    return f"{after - before:+.3f}" if axis == "toxicity_mean" else f"{(after - before) * 100:+.1f} points"


def _html(report: dict[str, Any], overview: str, categories: str) -> str:
    gate = report["gate"]
    good = gate["outcome"] == "PASS"
    cells = "".join(f"<tr><td>{a}</td><td>{b}</td><td>{c}</td><td>{d}</td></tr>" for a, b, c, d in rows(report))
    axes = "".join(
        f"<tr><td>{html.escape(a['axis'])}</td><td>{a['outcome']}</td><td>{a['difference']:+.3f}</td>"
        f"<td>[{a['low']:+.3f}, {a['high']:+.3f}]</td><td>{a['items']}</td><td>{html.escape(a['reason'])}</td></tr>"
        for a in gate["axes"]
    )
    traffic, rails = report["traffic"], report["with_rails"]
    compliance = rails["harmful_compliance"]
    facts = [
        f"{traffic['requests']} requests, {traffic['failed']} failed, {traffic['mixed_adapter']} mixing adapters "
        f"({traffic['attribution_checked']} answers around the swaps checked token by token)",
        f"promotion {_seconds(report['swap_seconds'])}, rollback {_seconds(report['rollback_seconds'])}, under load",
        f"harmful compliance with rails on: {'not measured' if compliance is None else f'{compliance:.1%}'}",
        "live probe of the champion, refusal of held-out harmful requests: "
        + ", ".join(f"{name} {value:.0%}" for name, value in report["live_probe"].items() if value is not None),
        f"{report['seconds']:.0f} s in all",
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Ratchet demo</title><style>{_STYLE}</style>"
        f'<h1>What the model learned</h1><p>Gate: <b class="{"pass" if good else "fail"}">{gate["outcome"]}</b> '
        f"{html.escape(str(gate['reason'] or ''))}</p>"
        f"<table><tr><th>model alone, rails off</th><th>before</th><th>after</th><th>change</th></tr>{cells}</table>"
        f"{overview}<ul>{''.join(f'<li>{html.escape(f)}</li>' for f in facts)}</ul>"
        f"<h2>By category</h2>{categories}<h2>The gate</h2><table><tr><th>axis</th><th>outcome</th><th>difference</th>"
        f"<th>95 % interval</th><th>items</th><th>why</th></tr>{axes}</table>"
        f"<p><small>adapter <code>{html.escape(str(report['run']['adapter']))}</code>, every figure of this page is in "
        f"<code>report.json</code>.</small></p></html>"
    )


def _seconds(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.2f} s"


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", bbox_inches="tight")
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _overview(story: Story, report: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.4), layout="constrained")
    top: dict[str, Axes] = figure.subplot_mosaic(
        [["bars", "loss"], ["time", "time"]], height_ratios=[1, 1.1], width_ratios=[1.5, 1]
    )
    _bars(top["bars"], report)
    _losses(top["loss"], report)
    _timeline(top["time"], story)
    return figure


def _plain(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _bars(axes: Axes, report: dict[str, Any]) -> None:
    names = ("harmful_refusal", "over_refusal", "cloze_accuracy")
    for offset, key, colour in ((-0.2, "before", BASE), (0.2, "after", TAUGHT)):
        values = [report[key][name] or 0.0 for name in names]
        drawn = axes.bar([i + offset for i in range(len(names))], values, 0.38, color=colour, label=key)
        axes.bar_label(drawn, [f"{v:.0%}" for v in values], fontsize=8, padding=2)
    axes.set_xticks(range(len(names)), ["harmful requests\nrefused", "benign twins\nrefused", "cloze\nright"])
    axes.set_ylim(0, 1.12)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")
    _plain(axes, "Model alone, held-out suites")


def _losses(axes: Axes, report: dict[str, Any]) -> None:
    losses = report["run"]["losses"]
    if losses:
        steps, values = [s for s, _ in losses], [v for _, v in losses]
        axes.plot(steps, values, color=BASE, linewidth=0.8)
        smooth = [sum(values[max(0, i - 9) : i + 1]) / min(10, i + 1) for i in range(len(values))]
        axes.plot(steps, smooth, color=TAUGHT, linewidth=1.8)
    axes.set_xlabel("optimiser step", fontsize=8)
    axes.set_ylim(bottom=0)
    _plain(axes, "Training loss")


def _timeline(axes: Axes, story: Story) -> None:
    zero = story.started
    for taught, colour, label in ((False, BASE, "base model"), (True, TAUGHT, "adapter")):
        points = [
            (t.ended - zero, t.refusal)
            for t in story.talks
            if bool(t.digest) is taught and not t.error and t.refusal is not None
        ]
        axes.scatter([x for x, _ in points], [y for _, y in points], s=9, alpha=0.6, color=colour, label=label)
    failed = [t for t in story.talks if t.error]
    if failed:
        axes.scatter([t.ended - zero for t in failed], [0.5] * len(failed), marker="x", color=WARN, label="failed")
    for mark in story.marks:
        axes.axvline(mark.started - zero, color=WARN if mark.name == "rollback" else TAUGHT, linewidth=1)
        axes.text(mark.started - zero, 1.05, f" {mark.name}", fontsize=8, color=INK)
    if story.marks:
        # Before the first swap everything is the base model's: the swaps are what there is to see.
        axes.set_xlim(story.marks[0].started - zero - 15, story.ended - zero + 1)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xlabel("seconds since the start", fontsize=8)
    axes.set_ylabel("refusal score", fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc="center left")
    _plain(axes, "Every scored answer around the swaps, by who wrote it\n")


def _categories(report: dict[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    parts = figure.subplots(1, 2, sharey=True)
    for axes, axis, title in zip(
        parts, ("harmful_refusal", "over_refusal"), ("Harmful requests refused", "Benign twins refused"), strict=True
    ):
        names: list[str] = sorted(report["by_category"].get("before", {}).get(axis, {}))
        for offset, key, colour in ((0.2, "before", BASE), (-0.2, "after", TAUGHT)):
            values = [report["by_category"].get(key, {}).get(axis, {}).get(name, 0.0) for name in names]
            axes.barh([i + offset for i in range(len(names))], values, 0.38, color=colour, label=key)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        _plain(axes, title)
    parts[0].legend(frameon=False, fontsize=8)
    return figure
