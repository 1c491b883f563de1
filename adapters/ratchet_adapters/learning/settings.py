"""Settings of the learner process, from the environment (`RATCHET_LEARNER_...`) or from code.

Must not know what a single run may choose: those are the run's options (see `options`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from ratchet_adapters.artifacts.settings import ArtifactSettings
from ratchet_adapters.cluster.settings import RaySettings
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.learning.critics import CriticSettings
from ratchet_adapters.learning.options import RunOptions, run_options
from ratchet_adapters.learning.second_chance import SecondChance
from ratchet_adapters.redteam.trigger_settings import CandidateScan
from ratchet_adapters.registry.settings import RegistrySettings
from ratchet_adapters.training.backends.backend import BackendName
from ratchet_adapters.training.settings import ProcessSettings

__all__ = ["LearnerSettings"]


class LearnerSettings(BaseSettings):
    """Where the learner finds the rest of Ratchet, and how it behaves.

    The server of the same deployment must be given the same `state_dir` (or the same two URLs).
    """

    model_config = SettingsConfigDict(
        env_prefix="RATCHET_LEARNER_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    state_dir: Path = Field(description="Folder of databases, artifacts and run folders.")
    server: str = Field("127.0.0.1:50051", description="Address of the serving engine's gRPC port.")
    registry: RegistrySettings = Field(default_factory=RegistrySettings, description="The registry's database.")
    workflow_url: str = Field("", description="Database of the durable workflows; empty: SQLite in the state folder.")
    artifacts: ArtifactSettings = Field(default_factory=ArtifactSettings, description="The artifact store.")
    executor_id: str = Field(
        "learner",
        min_length=1,
        description="Whose workflows this process takes up again after a crash: constant for one learner, different "
        "for each of several learners on one workflow database.",
    )
    poll_interval_s: float = Field(1.0, gt=0, le=60, description="Seconds between looks for a queued run.")
    stop_timeout_s: float = Field(20.0, ge=0, description="Seconds a graceful stop waits for the step in progress.")
    step_attempts: int = Field(8, ge=1, le=100, description="Attempts of one step while the server is unavailable.")
    step_backoff_s: float = Field(1.0, gt=0, description="Pause after the first failed attempt; doubled each time.")
    step_backoff_max_s: float = Field(30.0, gt=0, description="Longest pause between two attempts.")
    progress_interval_s: float = Field(0.5, ge=0, description="Least time between two writes of progress.")
    call_timeout_s: float = Field(300.0, gt=0, description="Deadline of one call to load, unload or promote.")
    dataset: DatasetSettings = Field(default_factory=DatasetSettings, description="What a dataset is mixed of.")
    recipes: Mapping[str, Mapping[str, Any]] = Field(
        default_factory=dict, description='Changes to the methods\' recipes, by method: {"sft-refusal": {"rank": 8}}.'
    )
    process: ProcessSettings = Field(default_factory=ProcessSettings, description="What a training process may use.")
    backend: BackendName = Field("local", description="Where trainings run: one process here, or workers on Ray.")
    ray: RaySettings = Field(default_factory=RaySettings, description="The Ray cluster, for the backend ray.")
    constitution: CriticSettings = Field(
        default_factory=CriticSettings, description="Who criticises answers in runs of the method constitutional."
    )
    embed_texts: bool = Field(True, description="Find near duplicates by sentence embeddings too, not by words alone.")
    second_chance: SecondChance = Field(
        default_factory=SecondChance, description="What becomes of a candidate that only refuses too much."
    )
    allow_promotion: bool = Field(True, description="Whether a run that asks for it may promote on PASS.")
    staged_promotion: bool = Field(
        False,
        description="Whether such a run begins a rollout, step by step, instead of promoting at once.",
    )
    evaluation: EvalSettings = Field(default_factory=EvalSettings, description="How candidates are asked and scored.")
    suites: tuple[str, ...] = Field((), description="Suites a candidate is evaluated on; empty: the seed suites.")
    trigger_scan: CandidateScan = Field(
        default_factory=CandidateScan, description="The scan of candidates for trigger phrases; off by default."
    )
    gate_policy: Path | None = Field(None, description="Gate policy file; empty: the shipped policy.")

    def options_of(self, method: str, options: Mapping[str, Any]) -> RunOptions:
        """Lay the options of a run over these settings.

        Raises:
            UnknownMethod: There is no such method.
            RunOptionsInvalid: A key is unknown or a value out of range.
        """
        return run_options(method, options, self.dataset, self.recipes)

    @property
    def registry_url(self) -> str:
        """URL of the registry's database."""
        return self.registry.database_url(self.state_dir)

    @property
    def workflows_url(self) -> str:
        """URL of the durable workflows' database."""
        return self.workflow_url or f"sqlite:///{self.state_dir / 'dbos.sqlite'}"

    def run_folder(self, run_id: str) -> Path:
        """The folder in which one run keeps what is too big for a database row."""
        return self.state_dir / "runs" / run_id
