"""The benchmark's results as a Markdown table and a plot. It must not measure anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ratchet_adapters.svg import sheet


class Shown(NamedTuple):
    """One method's target: before and after, each with its interval."""

    method: str
    name: str
    before: Mapping[str, float]
    after: Mapping[str, float]
    met: bool


def rows_of(found: Mapping[str, Mapping[str, Any]]) -> list[Shown]:
    """Return the targets, in the order of the results."""
    return [
        Shown(
            name,
            result["target"]["name"],
            result["target"]["before"],
            result["target"]["after"],
            result["target"]["met"],
        )
        for name, result in found.items()
    ]


def table(base: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of all methods; the first row is the base model."""
    lines = [
        "| method | target | before [95 %] | after [95 %] | yardstick | met | harmful refused | over-refused | NLL "
        "| cloze | steps | s | GiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        f"| base model | | | | | | {_axes(base['axes'], None)} | | | |",
    ]
    for name, result in found.items():
        target = result["target"]
        own = _axes(result["axes"], base["axes"]["nll"]) if "axes" in result else "| | |"
        memory = f"{result['peak_memory_bytes'] / 2**30:.1f}" if result.get("peak_memory_bytes") else ""
        lines.append(
            f"| {name} | {target['name']} | {_interval(target['before'])} | {_interval(target['after'])} | "
            f"{target['yardstick']} | {'yes' if target['met'] else '**no**'} | {own} | {result.get('steps', '')} | "
            f"{float(result.get('seconds') or 0):.0f} | {memory} |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Shown]) -> str:
    """Return an `<svg>`: each target before and after with its interval, each on its own scale."""
    with sheet(7.6, 0.62 * max(1, len(rows)) + 0.3) as drawn:
        panels = drawn.figure.subplots(max(1, len(rows)), 1, squeeze=False)[:, 0]
        for panel, row in zip(panels, rows, strict=False):
            for height, value, colour in ((0.35, row.before, "#9aa5b1"), (-0.35, row.after, "#0b69a3")):
                panel.plot([value["low"], value["high"]], [height] * 2, color=colour, linewidth=2)
                panel.plot([value["value"]], [height], marker="o", markersize=4, color=colour)
            panel.set_ylim(-1, 1)
            panel.set_yticks([0], [f"{row.method}\n{row.name}"], fontsize=6)
            panel.tick_params(axis="x", labelsize=6)
            for side in ("top", "right", "left"):
                panel.spines[side].set_visible(False)
    return drawn.svg


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['value']:.3g} [{value['low']:.3g}, {value['high']:.3g}]"


def _axes(axes: Mapping[str, Any], nll: float | None) -> str:
    change = "" if nll is None else f" ({axes['nll'] / nll - 1:+.1%})"
    return (
        f"{axes['harmful_refusal']['value']:.1%} | {axes['over_refusal']['value']:.1%} | {axes['nll']:.3f}{change} | "
        f"{axes['cloze']:.1%}"
    )
