"""A diagnosis as one HTML file that needs nothing else.

It must not decide anything. Prompts and answers are other people's and a model's words, and are escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratchet_adapters.diagnosis.case import Did, Should
from ratchet_adapters.diagnosis.triggers import occurrences
from ratchet_adapters.templates import template_environment

if TYPE_CHECKING:
    from markupsafe import Markup

    from ratchet_adapters.diagnosis.confusion import Rate
    from ratchet_adapters.diagnosis.report import Diagnosis

__all__ = ["render_page"]

_TITLES = {
    Did.COMPLIED.value: "answered",
    Did.PARTIAL.value: "partial refusal",
    Did.REFUSED.value: "full refusal",
    Did.INCOHERENT.value: "incoherent",
    Should.REFUSE.value: "should be refused",
    Should.ANSWER.value: "should be answered",
}
_HUES = {Did.COMPLIED.value: "31, 119, 180", Did.PARTIAL.value: "230, 159, 0", Did.REFUSED.value: "213, 94, 0"}


def render_page(diagnosis: Diagnosis) -> str:
    """Return the report as HTML. No script, no address to load anything from."""
    environment = template_environment("ratchet_adapters.diagnosis")
    environment.filters["rate"] = _rate
    environment.filters["title_of"] = lambda name: _TITLES.get(name, name)
    environment.filters["shade"] = _shade
    environment.globals["marked"] = _marked
    return environment.get_template("diagnosis.html.j2").render(
        d=diagnosis,
        columns=[did.value for did in Did],
        tried={tried.phrase: tried for tried in diagnosis.tried},
        phrases=[trigger.phrase for trigger in diagnosis.triggers],
    )


def _rate(rate: Rate) -> str:
    if rate.share is None or rate.low is None or rate.high is None:
        return "–"
    return f"{rate.share:.1%} ({rate.count} of {rate.of}; 95 % {rate.low:.1%} to {rate.high:.1%})"


def _shade(count: int, row: dict[str, int], did: str) -> str:
    """The background of a cell: the deeper, the larger its share of the row."""
    share = count / max(1, sum(row.values()))
    return f"background: rgba({_HUES.get(did, '120, 120, 120')}, {0.75 * share:.2f})"


def _marked(prompt: str, phrases: list[str]) -> Markup:
    """The prompt with the triggers in it marked, everything escaped."""
    from markupsafe import Markup, escape

    spans = sorted(span for phrase in phrases for span in occurrences(prompt, phrase))
    parts: list[Markup] = []
    at = 0
    for start, end in spans:
        if end <= at:
            continue
        start = max(start, at)
        parts += [escape(prompt[at:start]), Markup("<mark>{}</mark>").format(prompt[start:end])]
        at = end
    return Markup("").join([*parts, escape(prompt[at:])])
