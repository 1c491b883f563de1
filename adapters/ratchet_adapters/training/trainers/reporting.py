"""What a trainer tells while it trains: each step's loss and metrics, finished checkpoints, a loss that diverged.

It must not know who listens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from transformers import TrainerCallback

from ratchet_adapters.training.errors import TrainingDiverged
from ratchet_adapters.training.job import Progress

__all__ = ["StepReport"]

_NOT_METRICS = frozenset({"loss", "step", "epoch", "learning_rate", "total_flos", "num_tokens", "step_time"})


class StepReport(TrainerCallback):  # type: ignore[misc]
    """Reports each step, stops on a loss that is not finite, and marks finished checkpoints."""

    def __init__(self, on_step: Callable[[Progress], None], on_saved: Callable[[int], None]) -> None:
        self._on_step = on_step
        self._on_saved = on_saved
        self._began = 0.0
        self._seconds: list[float] = []

    @property
    def step_seconds(self) -> float:
        """Median wall-clock time of a step, in seconds; NaN when none was done."""
        return median(self._seconds) if self._seconds else math.nan

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the time."""
        self._began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the time."""
        self._seconds.append(time.monotonic() - self._began)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Take the loss and metrics of a step from the trainer's log."""
        if not logs or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingDiverged(int(state.global_step))
        self._on_step(Progress(int(state.global_step), int(state.max_steps), loss, metrics_of(logs)))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The checkpoint of this step is on disk."""
        self._on_saved(int(state.global_step))


def metrics_of(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a log entry that are worth showing beside the loss."""
    numbers = {
        name: float(value)
        for name, value in logs.items()
        if name not in _NOT_METRICS and not name.startswith(("eval_", "train_")) and isinstance(value, int | float)
    }
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
