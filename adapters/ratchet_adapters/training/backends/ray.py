"""Training by data-parallel workers on a Ray cluster, seen from the learner: one more child process to watch.

It must not import Ray: the child does, so that the learner stays light and what it started ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from ratchet_adapters.cluster.settings import RaySettings
from ratchet_adapters.training.backends.errors import BackendUnavailable
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.trainers.process import train_in_process

__all__ = ["RayBackend"]

_DRIVER = "ratchet_adapters.training.backends.ray_driver"


class RayBackend:
    """Ray Train's `TorchTrainer`; each worker computes its share of every step and holds the whole model.

    All workers must see `job.model`, `job.dataset`, `job.work`, `job.output` and `job.inputs` at the same paths.
    """

    def __init__(self, settings: RaySettings) -> None:
        """Choose the cluster.

        Raises:
            BackendUnavailable: Ray is not installed.
        """
        if find_spec("ray") is None:
            raise BackendUnavailable("ray", "the package is not installed; install ratchet-llm[ray]")
        self._settings = settings

    def run(
        self,
        job: TrainingJob,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> TrainingResult:
        """Train; see `TrainingBackend`. A worker that dies is replaced, from the last checkpoint."""
        return train_in_process(job, on_progress, should_stop, child=(_DRIVER, self._settings.model_dump_json()))
