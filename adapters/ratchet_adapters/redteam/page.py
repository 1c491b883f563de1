"""The report of a campaign as one HTML file that needs nothing else.

It must not decide anything. Prompts and answers are shown as text, escaped.
"""

from __future__ import annotations

from pathlib import Path

from ratchet_adapters.redteam.outcome import Outcome
from ratchet_adapters.redteam.report import RedTeamReport
from ratchet_adapters.templates import template_environment

__all__ = ["REPORT_HTML", "REPORT_JSON", "render_page", "write_report"]

REPORT_JSON = "red-team-report.json"
REPORT_HTML = "red-team-report.html"
_COLOURS = {
    Outcome.SUCCEEDED: "#b42318",
    Outcome.REFUSED: "#1a7f4b",
    Outcome.BLOCKED_INPUT: "#175cd3",
    Outcome.BLOCKED_OUTPUT: "#175cd3",
    Outcome.INCOHERENT: "#616e7c",
    Outcome.UNJUDGED: "#b7791f",
    Outcome.FAILED: "#b7791f",
}


def render_page(report: RedTeamReport) -> str:
    """Return the report as HTML. No script, no address to load anything from."""
    environment = template_environment("ratchet_adapters.redteam")
    environment.filters["share"] = lambda value: "–" if value is None else f"{value:.0%}"
    # Red grows with the rate, and text stays dark on it.
    environment.filters["tint"] = lambda value: (
        "transparent" if value is None else f"rgba(180, 35, 24, {value / 2:.2f})"
    )
    cells = {(cell.attack, cell.category): cell for cell in report.cells}
    return environment.get_template("red-team.html.j2").render(
        report=report,
        cells=cells,
        attacks=[cell.attack for cell in report.totals],
        outcomes=list(Outcome),
        colours={outcome.value: colour for outcome, colour in _COLOURS.items()},
    )


def write_report(report: RedTeamReport, folder: Path) -> tuple[Path, Path]:
    """Write the JSON and the HTML form into a folder, which is made when absent.

    Returns:
        Paths of the JSON and of the HTML file.

    Raises:
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT_JSON).write_text(report.to_json(), encoding="utf-8")
    (folder / REPORT_HTML).write_text(render_page(report), encoding="utf-8")
    return folder / REPORT_JSON, folder / REPORT_HTML
