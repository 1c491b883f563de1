"""The model card of an adapter, as Markdown, from its lineage.

It must not say anything the lineage does not hold.
"""

from __future__ import annotations

from typing import Any

from ratchet_adapters.provenance.document import Lineage
from ratchet_adapters.templates import template_environment

__all__ = ["model_card"]


def model_card(lineage: Lineage) -> str:
    """Return the card; the same lineage gives the same text."""
    # The filter `cell` keeps other people's words from ending a row or opening a tag.
    environment = template_environment("ratchet_adapters.provenance", markdown=True)
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
