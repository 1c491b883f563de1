"""What the steps of a run work with, opened once per learner process.

Must not know the order of the steps nor how they are made durable.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet_adapters.artifacts import ArtifactStore
from ratchet_adapters.flags import FlagStore
from ratchet_adapters.learning.progress import RunProgress
from ratchet_adapters.learning.serving import ServingEngine
from ratchet_adapters.learning.settings import LearnerSettings
from ratchet_adapters.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ratchet_adapters.datasets.near_duplicates import Embed
    from ratchet_adapters.evals.item import Axis
    from ratchet_adapters.evals.judges.judge import Judge

__all__ = ["Workbench"]


@dataclass(frozen=True)
class Workbench:
    """The open stores and the signal to stop.

    Attributes:
        settings: The learner's settings.
        registry: Runs, adapters, reports, routing.
        flags: Reviewed flags.
        artifacts: Datasets, adapters, evaluations, report pages.
        stopping: Set when the learner shuts down; every long piece of work watches it.
    """

    settings: LearnerSettings
    registry: Registry
    flags: FlagStore
    artifacts: ArtifactStore
    stopping: threading.Event = field(default_factory=threading.Event)

    def progress(self, run_id: str) -> RunProgress:
        """The progress writer of one run."""
        return RunProgress(self.registry, run_id, self.stopping, interval_s=self.settings.progress_interval_s)

    def engine(self, *, timeout_s: float | None = None) -> ServingEngine:
        """The serving engine, whose calls take `timeout_s` at most."""
        return ServingEngine(self.settings.server, self.stopping, timeout_s=timeout_s or self.settings.call_timeout_s)

    def judges(self) -> Mapping[Axis, Judge]:
        """The judges of an evaluation, loaded once per process."""
        return _judges()

    def embedder(self) -> Embed | None:
        """Texts to vectors, for near duplicates that share no words; None when the settings say words only."""
        return _embed if self.settings.embed_texts else None

    def run_folder(self, run_id: str) -> Path:
        """The run's own folder, made when it is not there."""
        folder = self.settings.run_folder(run_id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@cache
def _judges() -> Mapping[Axis, Judge]:
    from ratchet_adapters.evals.judges.defaults import default_judges

    return default_judges()


def _embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    from ratchet_plugins.models.encoder import shared_encoder

    return shared_encoder().encode(texts)
