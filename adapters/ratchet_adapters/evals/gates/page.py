"""A gate report as one HTML file that needs nothing else: table, forest plot, and every answer that changed.

It must not decide anything. Answers are a model's words and are escaped.
"""

from __future__ import annotations

from pathlib import Path

from ratchet_adapters.evals.gates.plot import COLOURS, forest_plot
from ratchet_adapters.evals.gates.report import GateReport
from ratchet_adapters.templates import template_environment

__all__ = ["render_page", "write_report"]

REPORT_JSON = "gate-report.json"
REPORT_HTML = "gate-report.html"


def render_page(report: GateReport, *, training_plot: str = "") -> str:
    """Return the report as HTML. No script, no address to load anything from.

    Args:
        report: What was decided, and why.
        training_plot: An `<svg>` of how the candidate was trained; left out when empty.
    """
    environment = template_environment("ratchet_adapters.evals.gates")
    environment.filters["figure"] = _figure
    environment.filters["signed"] = _signed
    return environment.get_template("report.html.j2").render(
        report=report,
        plot=forest_plot(report.axes),
        training_plot=training_plot,
        colours={outcome.value: colour for outcome, colour in COLOURS.items()},
        better=[flip for flip in report.flips if flip.better],
        worse=[flip for flip in report.flips if not flip.better],
    )


def write_report(report: GateReport, folder: Path, *, training_plot: str = "") -> tuple[Path, Path]:
    """Write the JSON and the HTML form into a folder, which is made when absent.

    Returns:
        Paths of the JSON and of the HTML file.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT_JSON).write_text(report.to_json(), encoding="utf-8")
    (folder / REPORT_HTML).write_text(render_page(report, training_plot=training_plot), encoding="utf-8")
    return folder / REPORT_JSON, folder / REPORT_HTML


def _figure(value: float | None, axis: str) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if axis in ("nll", "toxicity_mean") else f"{value:.1%}"


def _signed(value: float | None) -> str:
    # Differences are shown in points (per cent for nll, whose difference is relative).
    return "–" if value is None else f"{100 * value:+.2f}"
