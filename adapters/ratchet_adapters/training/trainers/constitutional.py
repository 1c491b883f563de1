"""Supervised fine-tuning on revised answers: that of `sft-refusal`, when the dataset was revised at all.

It must not know who revised it.
"""

from __future__ import annotations

from typing import cast

from ratchet_adapters.datasets.dataset import read_dataset
from ratchet_adapters.training.constitution.errors import NotRevised
from ratchet_adapters.training.constitutional import ConstitutionalSettings
from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.trainers import sft
from ratchet_adapters.training.trainers.session import OnProgress

__all__ = ["train"]


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train `constitutional`; see `carry_out`.

    Raises:
        NotRevised: The dataset's manifest does not show enough kept revisions.
    """
    revision = read_dataset(job.dataset).manifest.get("constitution") or {}
    kept = int(revision.get("outcomes", {}).get("kept", 0))
    least = cast(ConstitutionalSettings, job.settings).least_revised
    if kept < least:
        raise NotRevised(job.dataset, kept, least)
    return sft.train(job, on_progress)
