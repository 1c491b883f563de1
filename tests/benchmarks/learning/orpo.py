"""Benchmark of `orpo`: does the better answer win more often on held-out pairs, without a reference model?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.learning.preference import compared, prepared, trained


def measure(base: Path, work: Path, *, quick: bool) -> dict[str, Any]:
    """Train on seed pairs and compare held-out margins; see `preference.compared`."""
    bench = prepared(base, work, quick=quick)
    result = trained(
        bench,
        work / "orpo",
        "orpo",
        epochs=1.0 if quick else 3.0,
        batch_size=8,
        completion_tokens=bench.size.tokens,
    )
    # Without a reference model every refusal becomes likelier, needless ones too: what counts is which one wins.
    return compared(bench, result, "accuracy")
