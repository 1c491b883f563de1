"""How well `rloo` does on the small base model: the mean reward on held-out prompts before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.learning.grpo import measure_policy

__all__ = ["measure"]


def measure(base: Path, work: Path, *, quick: bool) -> dict[str, Any]:
    """Train and measure; see `measure_policy`."""
    return measure_policy("rloo", base, work, quick=quick)
