"""The model card of an adapter, as Markdown, from its lineage.

It must not say anything the lineage does not hold.
"""

from __future__ import annotations

from typing import Any

from ratchet_adapters.provenance.document import Lineage

__all__ = ["model_card"]


def model_card(lineage: Lineage) -> str:
    """Return the card; the same lineage gives the same text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ratchet_adapters.provenance", "templates"),
        # Markdown, not HTML: the filter `cell` keeps other people's words from ending a row or opening a tag.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = _cell
    environment.filters["figure"] = _figure
    return environment.get_template("card.md.j2").render(lineage=lineage)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    text = "".join(c if c.isprintable() else " " for c in str(value))
    for plain, safe in (("\\", "\\\\"), ("|", "\\|"), ("`", "'"), ("<", "&lt;"), ("[", "\\["), ("]", "\\]")):
        text = text.replace(plain, safe)
    return text


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "–"
