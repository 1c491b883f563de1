"""A training job and its result: plain values that travel between processes as JSON.

It must not know how training is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet_adapters.training.settings import ProcessSettings, SftSettings

__all__ = ["Progress", "TrainingJob", "TrainingResult"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One optimiser step is done. `total` is the number of steps; `loss` is in nats per completion token."""

    step: int
    total: int
    loss: float


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
    """

    method: str
    dataset: Path
    model: Path
    base_fingerprint: str
    output: Path
    work: Path
    settings: SftSettings
    process: ProcessSettings

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
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainingJob:
        """Return the job that `to_json` described."""
        return cls(
            method=value["method"],
            dataset=Path(value["dataset"]),
            model=Path(value["model"]),
            base_fingerprint=value["base_fingerprint"],
            output=Path(value["output"]),
            work=Path(value["work"]),
            settings=SftSettings.model_validate(value["settings"]),
            process=ProcessSettings.model_validate(value["process"]),
        )


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        adapter: The output folder.
        steps: Optimiser steps of the whole job.
        resumed_from: Step of the checkpoint this process began at; 0 for a fresh start.
        losses: (step, mean loss of the step in nats per token), over the whole job.
        validation_loss: Mean loss on the validation rows at the end; None when there are none.
        rows: Train rows used.
        tokens: Tokens of one pass over them.
        seconds: Wall-clock time of this process's training, model loading left out.
    """

    adapter: Path
    steps: int
    resumed_from: int
    losses: tuple[tuple[int, float], ...]
    validation_loss: float | None
    rows: int
    tokens: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return JSON values that `from_json` reads."""
        return {
            "adapter": str(self.adapter),
            "steps": self.steps,
            "resumed_from": self.resumed_from,
            "losses": [list(point) for point in self.losses],
            "validation_loss": self.validation_loss,
            "rows": self.rows,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainingResult:
        """Return the result that `to_json` described."""
        return cls(
            **{
                **value,
                "adapter": Path(value["adapter"]),
                "losses": tuple((int(step), float(loss)) for step, loss in value["losses"]),
            }
        )
