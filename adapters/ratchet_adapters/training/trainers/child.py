"""The body of a training process: reads a job, applies its limits, trains, writes progress and the outcome.

It must not be imported by the learner. It dies with its parent, so that a restarted learner never meets an orphan.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path

from ratchet_adapters.errors import AdaptersError
from ratchet_adapters.training.job import Progress, TrainingJob
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.trainers.files import OUTCOME, PROGRESS, write_json

__all__ = ["die_with", "main"]

_PR_SET_PDEATHSIG = 1


def main(job_file: str, parent: int) -> int:
    """Run the job described in a file and return the exit code."""
    die_with(parent)
    job = TrainingJob.from_json(json.loads(Path(job_file).read_text(encoding="utf-8")))
    work = Path(job_file).parent
    os.nice(job.process.nice)
    _limit_threads(job.process.threads)
    with (work / PROGRESS).open("a", encoding="utf-8", buffering=1) as stream:

        def on_progress(progress: Progress) -> None:
            stream.write(json.dumps(asdict(progress)) + "\n")

        try:
            result = method(job.method).load()(job, on_progress)
        except AdaptersError as error:
            traceback.print_exc()
            write_json(work / OUTCOME, {"error": type(error).__name__, "message": str(error)})
            return 1
    write_json(work / OUTCOME, {"result": result.to_json()})
    return 0


def die_with(parent: int) -> None:
    """Have this process killed when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("The process that started this training is gone.")


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], int(sys.argv[2])))
