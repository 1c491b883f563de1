"""What a search came to, for people and for the next command: page, plots, figures, and the options to train with.

It must not choose by any rule of its own: `front` has them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_adapters.svg import sheet
from ratchet_adapters.templates import template_environment
from ratchet_adapters.tuning.front import best_under, knee
from ratchet_adapters.tuning.objectives import Constraint
from ratchet_adapters.tuning.study import Done, Found

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BEST", "Written", "draw_front", "write_report"]

BEST = "best.json"
_PAGE = "tuning.html"
_FIGURES = "tuning.json"
_INK, _QUIET, _TAKEN = "#1f2933", "#9aa5b1", "#1a7f4b"


@dataclass(frozen=True)
class Written:
    """The files of a search, and the trial that was taken.

    Attributes:
        found: What the search came to.
        best: The trial whose options are in `options`.
        rule: Why it was taken.
        options: File with the options for `ratchet train`.
        page: The HTML page.
    """

    found: Found
    best: Done
    rule: str
    options: Path
    page: Path

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "method": self.found.method,
            "rule": self.rule,
            "best": self.best.number,
            "options": dict(self.best.options),
            "base": asdict(self.found.base),
            "front": [trial.number for trial in self.found.front],
            "trials": [asdict(trial) for trial in self.found.done],
        }


def write_report(found: Found, constraints: Sequence[Constraint], out: Path) -> Written:
    """Choose a trial and write everything into the folder of the search.

    Raises:
        NoTrialFits: No trial may be chosen; options that an earlier call wrote are removed, the rest is not touched.
    """
    (out / BEST).unlink(missing_ok=True)
    if constraints:
        best = best_under(found.done, constraints)
        rule = "most refusals under " + ", ".join(bound.text for bound in constraints)
    else:
        best, rule = knee(found.done), "the knee: nearest to the best of all three, each scaled over the front"
    written = Written(found, best, rule, out / BEST, out / _PAGE)
    with sheet(7.0, 4.2) as drawn:
        draw_front(drawn.figure, found, best, constraints)
        drawn.figure.savefig(out / "front.png", dpi=150, metadata={"Software": None})
    _replace(out / "front.svg", drawn.svg)
    _replace(out / _FIGURES, json.dumps(written.to_json(), indent=2, sort_keys=True) + "\n")
    _replace(out / _PAGE, _page(written, drawn.svg))
    _replace(out / BEST, json.dumps(best.options, indent=2, sort_keys=True) + "\n")
    return written


def draw_front(figure: Figure, found: Found, best: Done, constraints: Sequence[Constraint] = ()) -> None:
    """Draw over-refusal against refusal, the language lost as colour; the front is ringed, the taken one is named."""
    axes = figure.subplots()
    measured = [trial for trial in found.done if trial.measured]
    figures = [trial.measured for trial in measured if trial.measured]
    points = axes.scatter(
        [100 * m.over_refusal for m in figures],
        [100 * m.refusal for m in figures],
        c=[m.nll_change for m in figures],
        cmap="viridis_r",
        s=36,
        zorder=3,
    )
    figure.colorbar(points, ax=axes, label="nats per token lost on plain text")
    ringed = [trial.measured for trial in found.front if trial.measured]
    axes.scatter(
        [100 * m.over_refusal for m in ringed], [100 * m.refusal for m in ringed], s=120, facecolors="none",
        edgecolors=_INK, linewidths=0.9, zorder=2, label="Pareto front",
    )  # fmt: skip
    base = found.base
    axes.scatter([100 * base.over_refusal], [100 * base.refusal], marker="x", color=_INK, label="base model", zorder=4)
    if best.measured:
        place = (100 * best.measured.over_refusal, 100 * best.measured.refusal)
        axes.scatter(*place, s=260, facecolors="none", edgecolors=_TAKEN, linewidths=2.0, zorder=4, label="taken")
        axes.annotate(f"trial {best.number}", place, xytext=(10, -14), textcoords="offset points", color=_TAKEN)
    for bound in constraints:
        if bound.name == "over_refusal":
            axes.axvline(100 * bound.bound, color=_QUIET, linestyle="--", linewidth=0.9)
        elif bound.name == "refusal":
            axes.axhline(100 * bound.bound, color=_QUIET, linestyle="--", linewidth=0.9)
    axes.set_xlabel("harmless prompts refused, %")
    axes.set_ylabel("harmful prompts refused, %")
    axes.margins(0.12)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(loc="best", fontsize=8, frameon=False)


def _page(written: Written, plot: str) -> str:
    environment = template_environment("ratchet_adapters.tuning")
    return environment.get_template("tuning.html.j2").render(
        written=written,
        found=written.found,
        front={trial.number for trial in written.found.front},
        names=sorted({name for trial in written.found.done for name in trial.params}),
        options=json.dumps(written.best.options, indent=2, sort_keys=True),
        plot=plot,
    )


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
