"""The body of one Ray worker: trains its share; the first one writes progress and the outcome.

It must not know the cluster. It runs anew in every worker that replaces a dead one, and then continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ratchet_adapters.errors import AdaptersError
from ratchet_adapters.training.backends.errors import FolderNotShared
from ratchet_adapters.training.job import Progress, TrainingJob
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.trainers.files import JOB, OUTCOME, PROGRESS, write_json
from ratchet_adapters.training.trainers.workers import is_first

__all__ = ["train_as_worker"]


def train_as_worker(config: dict[str, Any]) -> None:
    """Train the job in the configuration as one of several workers; `torch.distributed` is initialised.

    Raises:
        AdaptersError: What the training raised; it is in the outcome file first, if that folder can be reached.
    """
    import torch

    job = TrainingJob.from_json(config["job"])
    if (job.work / OUTCOME).exists():
        # A worker before this one met an error of the job itself: doing it again would not help.
        return
    if job.process.nice:
        os.nice(job.process.nice)
    torch.set_num_threads(config["threads"])
    try:
        for folder in (job.work / JOB, job.dataset, job.model, *job.inputs.values()):
            if not folder.exists():
                raise FolderNotShared(folder, os.uname().nodename)
        result = method(job.method).load()(job, _reporter(job.work / PROGRESS) if is_first() else None)
    except AdaptersError as error:
        if job.work.is_dir():
            write_json(job.work / OUTCOME, {"error": type(error).__name__, "message": str(error)})
        raise
    if is_first():
        write_json(job.work / OUTCOME, {"result": result.to_json()})


def _reporter(path: Path) -> Callable[[Progress], None]:
    """Append each step to a file; a line that a killed worker left unfinished is removed."""
    if path.exists():
        whole = path.read_bytes()
        with path.open("r+b") as stream:
            stream.truncate(whole.rfind(b"\n") + 1)

    def report(progress: Progress) -> None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(progress)) + "\n")

    return report
