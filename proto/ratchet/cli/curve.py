"""How a training's curve is drawn in a terminal: a line of blocks for the loss and for each metric.

It asks no server for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.table import Table

from ratchet.v1 import learning_pb2 as pb

_BLOCKS = "▁▂▃▄▅▆▇█"
CELLS = 40
# Of interest to whoever debugs a trainer, not to whoever watches a run.
_HIDDEN = ("grad_norm", "num_input_tokens_seen")


def curve_table(points: Sequence[pb.LossPoint]) -> Table:
    """Loss and metrics, a row each: name, curve over the whole training so far, latest value."""
    table = Table.grid(padding=(0, 1))
    if not points:
        return table
    names = sorted({name for point in points for name in point.metrics if not name.endswith(_HIDDEN)})
    rows = {"loss": [point.loss for point in points]}
    rows |= {name: [point.metrics[name] for point in points if name in point.metrics] for name in names}
    for name, values in rows.items():
        table.add_row(f"  {name}", blocks(values), f"{values[-1]:.4g}")
    return table


def blocks(values: Sequence[float], cells: int = CELLS) -> str:
    """The values as at most `cells` block characters, each the mean of an equal share, scaled from least to largest.

    A share in which nothing is finite is a question mark.
    """
    count = min(cells, len(values))
    means = []
    for cell in range(count):
        share = values[cell * len(values) // count : (cell + 1) * len(values) // count]
        finite = [value for value in share if math.isfinite(value)]
        means.append(sum(finite) / len(finite) if finite else math.nan)
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return "?" * count
    low, reach = min(finite), (max(finite) - min(finite)) or 1.0
    return "".join(
        _BLOCKS[min(len(_BLOCKS) - 1, int((mean - low) / reach * len(_BLOCKS)))] if math.isfinite(mean) else "?"
        for mean in means
    )
