"""A matplotlib figure as inline SVG: the same bytes for the same figure, and nothing loaded from elsewhere.

It must not know what is drawn.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Sheet", "sheet"]

# The same plot must be the same bytes, so that a report can be compared and signed.
_SALT = "ratchet"


class Sheet:
    """A figure in the making; `svg` is set when the `sheet` block ends."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.svg = ""


@contextmanager
def sheet(width: float, height: float) -> Iterator[Sheet]:
    """Yield an empty figure of this size, in inches, and turn it into an `<svg>` element at the end of the block."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": _SALT, "svg.fonttype": "none", "font.family": "sans-serif"}):
        drawn = Sheet(Figure(figsize=(width, height), layout="constrained"))
        FigureCanvasSVG(drawn.figure)
        yield drawn
        target = io.StringIO()
        drawn.figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    # The XML head names a document type by address; inside HTML it has no place.
    drawn.svg = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
