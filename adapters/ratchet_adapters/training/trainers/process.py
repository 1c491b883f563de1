"""Runs a training job in a process of its own, so that the learner stays light and can stop or outlive it.

It must not import torch or a trainer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ratchet_adapters.child_environment import child_environment
from ratchet_adapters.training.errors import (
    TrainingCancelled,
    TrainingCrashed,
    TrainingFailed,
    TrainingStalled,
    WorkFolderBusy,
)
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.trainers.files import JOB, LOCK, LOG, OUTCOME, PROGRESS, write_json

__all__ = ["train_in_process"]

_MODULE = "ratchet_adapters.training.trainers.child"
_POLL_SECONDS = 0.2
_END_SECONDS = 10.0
_LOG_CHARS = 2000


def train_in_process(
    job: TrainingJob,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    *,
    child: Sequence[str] = (_MODULE,),
) -> TrainingResult:
    """Train in a child process and wait for it. Blocks: call it from a thread in asyncio code.

    The child dies with this process. After that, or after any error here, calling it again with the same job continues
    from the last checkpoint; a job whose adapter is already there returns its result at once.

    Args:
        job: What to train.
        on_progress: Called for each finished step, in this thread, in order.
        should_stop: Asked about five times a second; true ends the child and raises TrainingCancelled.
        child: Module that the child runs, and its arguments in front of the job file and this process's id.

    Raises:
        MethodUnknown: No such method.
        WorkFolderBusy: Another process trains in the same work folder.
        TrainingCancelled: `should_stop` returned true.
        TrainingStalled: No step was finished for `job.process.stall_seconds`.
        TrainingCrashed: The child ended without a result (a signal, out of memory).
        TrainingFailed: The child raised a typed error; its name and message are in it.
    """
    method(job.method)
    job.work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(job.work / LOCK, timeout=0):
            return _finished(job) or _run(job, child, on_progress, should_stop or (lambda: False))
    except Timeout:
        raise WorkFolderBusy(job.work) from None


def _finished(job: TrainingJob) -> TrainingResult | None:
    """The result of the same job, when it was already finished in this work folder."""
    request, outcome = _read(job.work / JOB), _read(job.work / OUTCOME)
    if request is None or outcome is None or "result" not in outcome or not job.output.is_dir():
        return None
    result = TrainingResult.from_json(outcome["result"])
    return result if request == job.to_json() else None


def _run(
    job: TrainingJob,
    module: Sequence[str],
    on_progress: Callable[[Progress], None] | None,
    should_stop: Callable[[], bool],
) -> TrainingResult:
    for name in (OUTCOME, PROGRESS):
        (job.work / name).unlink(missing_ok=True)
    write_json(job.work / JOB, job.to_json())
    with (job.work / LOG).open("wb") as log:
        child = subprocess.Popen(
            _command(job, module),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(job.process.threads),
        )
    try:
        _watch(child, job, on_progress, should_stop)
    finally:
        _end(child)
    return _outcome(job, child.returncode)


def _watch(
    child: subprocess.Popen[bytes],
    job: TrainingJob,
    on_progress: Callable[[Progress], None] | None,
    should_stop: Callable[[], bool],
) -> None:
    seen = 0
    alive_at = time.monotonic()
    while True:
        ended = child.poll() is not None
        lines = _progress_lines(job.work / PROGRESS)
        for line in lines[seen:]:
            alive_at = time.monotonic()
            if on_progress is not None:
                on_progress(Progress(**line))
        seen = len(lines)
        if ended:
            return
        if should_stop():
            raise TrainingCancelled(seen)
        if time.monotonic() - alive_at > job.process.stall_seconds:
            raise TrainingStalled(job.process.stall_seconds)
        time.sleep(_POLL_SECONDS)


def _outcome(job: TrainingJob, exit_code: int | None) -> TrainingResult:
    outcome = _read(job.work / OUTCOME)
    if outcome is None:
        log = (job.work / LOG).read_text(encoding="utf-8", errors="replace")
        raise TrainingCrashed(exit_code, log[-_LOG_CHARS:])
    if "result" in outcome:
        return TrainingResult.from_json(outcome["result"])
    raise TrainingFailed(str(outcome["error"]), str(outcome["message"]))


def _command(job: TrainingJob, module: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", *module, str(job.work / JOB), str(os.getpid())]


def _environment(threads: int) -> dict[str, str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return {**os.environ, **child_environment(threads), "PYTHONPATH": path}


def _progress_lines(path: Path) -> list[dict[str, Any]]:
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    # The last piece is empty, or a line that is still being written.
    return [json.loads(line) for line in content.split("\n")[:-1]]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
