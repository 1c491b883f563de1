"""The forest plot of a gate report as inline SVG.

It must not decide anything: it draws the intervals the report holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratchet_adapters.evals.gates.report import AxisResult, GateOutcome
from ratchet_adapters.svg import sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "forest_plot"]

COLOURS = {GateOutcome.PASS: "#1a7f4b", GateOutcome.FAIL: "#b42318", GateOutcome.INCONCLUSIVE: "#b7791f"}
_INK = "#1f2933"
_QUIET = "#9aa5b1"


def forest_plot(axes: Sequence[AxisResult]) -> str:
    """Draw, for each axis, the difference in favour of the candidate, its interval and the margin.

    Differences are in percentage points (relative per cent for nll), turned so that right is better on every axis.
    Each axis has its own scale, since a margin of 1 point and one of 20 cannot share one.

    Returns:
        An `<svg>` element that refers to nothing outside itself. Axes without figures are drawn as "not measured".
    """
    with sheet(7.6, 0.78 * max(1, len(axes)) + 0.35) as drawn:
        panels = drawn.figure.subplots(max(1, len(axes)), 1, squeeze=False)
        for panel, axis in zip(panels[:, 0], axes, strict=False):
            _row(panel, axis)
    return drawn.svg


def _row(panel: Axes, axis: AxisResult) -> None:
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(_QUIET)
    panel.set_yticks([0], [axis.axis], fontsize=9, color=_INK)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", labelsize=7, colors=_QUIET)
    panel.set_ylim(-1, 1)
    sign = 1.0 if axis.higher_is_better else -1.0
    numbers = [number for number in (axis.difference, axis.low, axis.high) if number is not None]
    if len(numbers) < 3 or not all(math.isfinite(number) for number in numbers):
        panel.set_xticks([])
        panel.set_xlim(-1, 1)
        panel.text(0, 0, "not measured", ha="center", va="center", fontsize=9, color=COLOURS[axis.outcome])
        return
    middle, low, high = (100 * sign * number for number in numbers)
    margin = -100 * axis.margin
    colour = COLOURS[axis.outcome]
    panel.axvline(0, color=_QUIET, linewidth=0.8)
    if axis.margin:
        panel.axvline(margin, color=COLOURS[GateOutcome.FAIL], linewidth=1, linestyle=(0, (3, 2)))
    panel.plot([low, high], [0, 0], color=colour, linewidth=2, solid_capstyle="butt")
    panel.plot([middle], [0], marker="s", markersize=6, color=colour)
    ends = [low, high, margin, 0.0]
    reach = max(ends) - min(ends) or 1.0
    panel.set_xlim(min(ends) - 0.08 * reach, max(ends) + 0.08 * reach)
