"""Training in one process on this machine.

It must not know how the process is watched.
"""

from __future__ import annotations

from collections.abc import Callable

from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.trainers.process import train_in_process

__all__ = ["LocalBackend"]


class LocalBackend:
    """One child process; see `train_in_process`."""

    def run(
        self,
        job: TrainingJob,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TrainingResult:
        """Train; see `TrainingBackend`."""
        return train_in_process(job, on_progress, should_stop)
