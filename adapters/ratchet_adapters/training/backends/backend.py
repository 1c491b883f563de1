"""The port for a place where trainings are carried out, and those there are, by name.

It must not know any of them before one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

from ratchet_adapters.cluster.settings import RaySettings
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult

__all__ = ["BackendName", "TrainingBackend", "training_backend"]

BackendName = Literal["local", "ray"]


class TrainingBackend(Protocol):
    """Carries out trainings. Equal jobs give the same adapter wherever they run, up to the order of float sums."""

    def run(
        self,
        job: TrainingJob,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TrainingResult:
        """Train and wait for it; blocks.

        Called again with the same job, it continues from the last checkpoint in `job.work`, or returns the result
        that is already there.

        Args:
            job: What to train.
            on_progress: Called for each finished step, in this thread; after a restart of workers, steps since the
                last checkpoint come again.
            should_stop: Asked about five times a second; true ends the training and raises TrainingCancelled.

        Raises:
            TrainingError: As `train_in_process`; TrainingFailed carries what the training itself raised.
        """
        ...


def training_backend(name: BackendName, ray: RaySettings) -> TrainingBackend:
    """Return the backend of this name.

    Raises:
        BackendUnavailable: It needs a package that is not installed.
    """
    if name == "ray":
        from ratchet_adapters.training.backends.ray import RayBackend

        return RayBackend(ray)
    from ratchet_adapters.training.backends.local import LocalBackend

    return LocalBackend()
