"""A training's curve in a terminal."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ratchet.cli.curve import blocks, curve_table
from ratchet.v1 import learning_pb2 as pb


def test_a_falling_loss_goes_from_the_highest_block_to_the_lowest():
    assert blocks([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=200), st.integers(1, 50))
def test_there_is_one_block_for_each_share_whatever_the_values(values, cells):
    assert len(blocks(values, cells)) == min(cells, len(values))


def test_a_share_without_a_finite_value_is_said():
    assert blocks([1.0, math.nan, 0.0]) == "█?▁"


def test_the_table_has_a_row_for_the_loss_and_each_metric():
    points = [pb.LossPoint(step=i, loss=3.0 - i, metrics={"kl": 0.1 * i, "grad_norm": 1.0}) for i in (1, 2)]
    console = Console(width=80, record=True)
    console.print(curve_table(points))
    text = console.export_text()
    assert "loss" in text and "kl" in text and "0.2" in text and "grad_norm" not in text
