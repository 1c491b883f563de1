"""The curve of a training as inline SVG: the loss, and a panel for each thing its method shows beside it.

It must not know any method: it draws the names it is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from ratchet_adapters.svg import sheet

__all__ = ["CurvePoint", "curve_plot"]

_RAW, _SMOOTH, _INK, _QUIET = "#c3cbd4", "#0b69a3", "#1f2933", "#9aa5b1"
_WINDOW = 10
_MOST_PANELS = 9
# Of interest to whoever debugs a trainer, not to whoever judges a run.
_HIDDEN = ("grad_norm", "num_input_tokens_seen")


class CurvePoint(Protocol):
    """One optimiser step."""

    @property
    def step(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...


def curve_plot(curve: Sequence[CurvePoint]) -> str:
    """Draw loss and metrics over optimiser steps, each also as a mean over the last 10 steps.

    Args:
        curve: In order of steps; may be empty.

    Returns:
        An `<svg>` element that refers to nothing outside itself; empty when there is nothing to draw.
    """
    if not curve:
        return ""
    names = sorted({name for point in curve for name in point.metrics if not name.endswith(_HIDDEN)})
    series = {"loss": [(point.step, point.loss) for point in curve]}
    for name in names[: _MOST_PANELS - 1]:
        series[name] = [(point.step, point.metrics[name]) for point in curve if name in point.metrics]
    columns = min(3, len(series))
    rows = math.ceil(len(series) / columns)
    with sheet(2.9 * columns, 1.9 * rows) as drawn:
        panels = drawn.figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, (name, points) in zip(panels, series.items(), strict=False):
            finite = [(step, value) for step, value in points if math.isfinite(value)]
            steps, values = [step for step, _ in finite], [value for _, value in finite]
            panel.plot(steps, values, color=_RAW, linewidth=0.8)
            panel.plot(steps, _means(values), color=_SMOOTH, linewidth=1.6)
            panel.set_title(name, fontsize=8, color=_INK, loc="left")
            panel.tick_params(labelsize=7, colors=_QUIET)
            for side in ("top", "right"):
                panel.spines[side].set_visible(False)
        for panel in panels[len(series) :]:
            panel.set_visible(False)
    return drawn.svg


def _means(values: Sequence[float]) -> list[float]:
    return [
        sum(values[max(0, place - _WINDOW + 1) : place + 1]) / min(_WINDOW, place + 1) for place in range(len(values))
    ]
