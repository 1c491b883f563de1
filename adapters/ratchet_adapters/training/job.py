"""A training job and its result: plain values that travel between processes as JSON.

It must not know how training is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ratchet_adapters.training.recipe import Recipe
from ratchet_adapters.training.settings import ProcessSettings

__all__ = ["Progress", "TrainingJob", "TrainingResult"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One optimiser step is done.

    Attributes:
        step: 1 to total.
        total: Number of steps.
        loss: Of the step; in nats per completion token for supervised fine-tuning, else in the method's own unit.
        metrics: What else the method shows, e.g. "kl", "toxicity-penalty.level".
    """

    step: int
    total: int
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingJob:
    """What to train, from what, into where.

    Attributes:
        method: Name in `ratchet_adapters.training.methods`.
        dataset: Folder written by `Dataset.write`.
        model: Folder of the base model.
        base_fingerprint: Of the base model; goes into the adapter.
        output: Folder of the adapter; made whole or not at all.
        work: Folder for checkpoints and logs; the same folder continues an interrupted job.
        settings: The recipe.
        process: Limits of the process.
        inputs: Folders of the adapters that the settings name, by that name; empty for methods that start from none.
    """

    method: str
    dataset: Path
    model: Path
    base_fingerprint: str
    output: Path
    work: Path
    settings: Recipe
    process: ProcessSettings
    inputs: Mapping[str, Path] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that `from_json` reads."""
        return {
            "method": self.method,
            "dataset": str(self.dataset),
            "model": str(self.model),
            "base_fingerprint": self.base_fingerprint,
            "output": str(self.output),
            "work": str(self.work),
            "settings": self.settings.model_dump(mode="json"),
            "process": self.process.model_dump(mode="json"),
            "inputs": {name: str(folder) for name, folder in self.inputs.items()},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainingJob:
        """Return the job that `to_json` described."""
        from ratchet_adapters.training.methods import method

        return cls(
            method=value["method"],
            dataset=Path(value["dataset"]),
            model=Path(value["model"]),
            base_fingerprint=value["base_fingerprint"],
            output=Path(value["output"]),
            work=Path(value["work"]),
            settings=method(value["method"]).settings.model_validate(value["settings"]),
            process=ProcessSettings.model_validate(value["process"]),
            inputs={name: Path(folder) for name, folder in value.get("inputs", {}).items()},
        )


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        adapter: The output folder.
        steps: Optimiser steps done in the whole job.
        resumed_from: Step of the checkpoint this process began at; 0 for a fresh start.
        curve: Each step's loss and metrics, over the whole job.
        validation_loss: Mean loss on the validation rows at the end; None when there are none.
        rows: Train rows used.
        tokens: Tokens of one pass over them.
        seconds: Wall-clock time of this process's training, model loading left out.
        step_seconds: Median wall-clock time of a step.
        peak_memory_bytes: Largest memory this process held (resident; on a GPU, allocated there).
        stopped_early: Why training ended before its last step; empty when it did not.
    """

    adapter: Path
    steps: int
    resumed_from: int
    curve: tuple[Progress, ...]
    validation_loss: float | None
    rows: int
    tokens: int
    seconds: float
    step_seconds: float = float("nan")
    peak_memory_bytes: int = 0
    stopped_early: str = ""

    @property
    def losses(self) -> tuple[tuple[int, float], ...]:
        """(step, loss) over the whole job."""
        return tuple((point.step, point.loss) for point in self.curve)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that `from_json` reads."""
        return {**asdict(self), "adapter": str(self.adapter)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainingResult:
        """Return the result that `to_json` described."""
        return cls(
            **{
                **value,
                "adapter": Path(value["adapter"]),
                "curve": tuple(Progress(**point) for point in value["curve"]),
            }
        )
