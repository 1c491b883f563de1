"""The process that starts a training on a Ray cluster and waits for it.

It must not train: `ray_worker` does. It dies with its parent, and a cluster of its own dies with it.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
import traceback
from pathlib import Path
from uuid import uuid4

from ratchet_adapters.cluster.opening import opened
from ratchet_adapters.cluster.settings import RaySettings
from ratchet_adapters.errors import AdaptersError
from ratchet_adapters.training.backends.ray_worker import train_as_worker
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.trainers.child import die_with
from ratchet_adapters.training.trainers.files import OUTCOME, write_json

__all__ = ["main"]

_SCRATCH = "ray"


def main(settings: str, job_file: str, parent: int) -> int:
    """Run the job described in a file on the cluster described in JSON and return the exit code."""
    die_with(parent)
    # A polite end: workers on other machines are told, rather than found out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    chosen = RaySettings.model_validate_json(settings)
    job = TrainingJob.from_json(json.loads(Path(job_file).read_text(encoding="utf-8")))
    try:
        with opened(chosen):
            _fit(job, chosen)
    except AdaptersError as error:
        traceback.print_exc()
        write_json(job.work / OUTCOME, {"error": type(error).__name__, "message": str(error)})
        return 1
    finally:
        shutil.rmtree(job.work / _SCRATCH, ignore_errors=True)
    return 0


def _fit(job: TrainingJob, settings: RaySettings) -> None:
    """Ray Train's part: workers, their rendezvous, and new ones in place of those that die."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    resources = {"CPU": settings.cpus_per_worker}
    if settings.gpus_per_worker:
        resources["GPU"] = settings.gpus_per_worker
    TorchTrainer(
        train_as_worker,
        train_loop_config={"job": job.to_json(), "threads": settings.threads},
        torch_config=TorchConfig(
            backend="nccl" if settings.gpus_per_worker else "gloo", timeout_s=int(job.process.stall_seconds)
        ),
        scaling_config=ScalingConfig(
            num_workers=settings.workers, use_gpu=bool(settings.gpus_per_worker), resources_per_worker=resources
        ),
        # Checkpoints are the trainer's own, in the work folder; Ray keeps nothing but its notes of this attempt.
        run_config=RunConfig(
            name=uuid4().hex,
            storage_path=str((job.work / _SCRATCH).absolute()),
            failure_config=FailureConfig(max_failures=settings.max_failures),
        ),
    ).fit()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
