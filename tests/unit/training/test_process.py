"""Training in a process of its own: light for the parent, ended with it, continued after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from pydantic import ValidationError

from ratchet_adapters.training.errors import (
    MethodUnknown,
    TrainingCancelled,
    TrainingCrashed,
    TrainingFailed,
    TrainingStalled,
    WorkFolderBusy,
)
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.methods import method, methods
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.trainers import process
from ratchet_adapters.training.trainers.process import train_in_process


def child_of(folder):
    """Process id of the training child that works in a folder."""
    for _ in range(1000):
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                command = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if "ratchet_adapters.training.trainers.child" in command and any(str(folder) in part for part in command):
                return int(entry.name)
        time.sleep(0.02)
    raise AssertionError("no training child appeared")


def ended(pid):
    """Whether a process is gone, or only waits for its parent to notice."""
    try:
        return "zombie" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_a_killed_child_is_a_typed_error_and_the_next_call_continues(make_job):
    job = make_job(epochs=20.0, batch_size=1, checkpoint_steps=50)

    def kill(progress):
        if progress.step == 60:
            os.kill(child_of(job.work), signal.SIGKILL)

    with pytest.raises(TrainingCrashed, match="signal 9"):
        train_in_process(job, kill)
    steps = []
    result = train_in_process(job, lambda progress: steps.append(progress.step))
    assert result.resumed_from >= 50 and steps[0] == result.resumed_from + 1
    assert len(result.losses) == result.steps == 400
    assert train_in_process(job) == result, "a finished job returns its result at once"


def test_the_child_is_nice_limited_and_stops_when_asked(make_job):
    job = make_job(epochs=20.0, process={"nice": 7})
    seen = {}

    def should_stop():
        if seen:
            return True
        progress = job.work / "progress.jsonl"
        if progress.exists() and progress.read_text().count("\n") > 1:
            pid = child_of(job.work)
            seen.update(pid=pid, nice=os.getpriority(os.PRIO_PROCESS, pid))
        return False

    with pytest.raises(TrainingCancelled):
        train_in_process(job, None, should_stop)
    assert seen["nice"] == os.getpriority(os.PRIO_PROCESS, 0) + 7
    assert ended(seen["pid"])


def test_a_typed_error_in_the_child_arrives_with_its_message(make_job, tmp_path):
    with pytest.raises(TrainingFailed, match="holds no valid dataset") as caught:
        train_in_process(replace(make_job(), dataset=tmp_path / "nothing"))
    assert caught.value.error == "DatasetInvalid"


def test_an_untyped_crash_shows_the_childs_last_words(make_job, tmp_path):
    with pytest.raises(TrainingCrashed, match="exit code 1") as caught:
        train_in_process(replace(make_job(), model=tmp_path / "nothing"))
    assert "model.py" in caught.value.log


def test_two_trainings_never_share_a_work_folder(make_job):
    job = make_job()
    job.work.mkdir(parents=True)
    with FileLock(job.work / "lock"), pytest.raises(WorkFolderBusy):
        other: list[BaseException] = []

        def run():
            try:
                train_in_process(job)
            except WorkFolderBusy as error:
                other.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        raise other[0]


def test_a_child_without_progress_is_ended(make_job, monkeypatch):
    monkeypatch.setattr(process, "_command", lambda job, module: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(TrainingStalled):
        train_in_process(make_job(process={"stall_seconds": 0.3}))


def test_the_child_dies_with_its_parent(make_job, tmp_path):
    job = make_job(epochs=20.0)
    (tmp_path / "job.json").write_text(json.dumps(job.to_json()))
    code = (
        "import json,sys\n"
        "from ratchet_adapters.training.job import TrainingJob\n"
        "from ratchet_adapters.training.trainers.process import train_in_process\n"
        f"train_in_process(TrainingJob.from_json(json.load(open({str(tmp_path / 'job.json')!r}))))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        child = child_of(job.work)
    finally:
        parent.kill()
        parent.wait()
    for _ in range(100):
        if ended(child):
            return
        time.sleep(0.05)
    raise AssertionError("the child outlived its parent")


def test_an_unknown_method_is_an_error_that_names_the_known_ones(make_job):
    with pytest.raises(MethodUnknown, match="sft-refusal"):
        train_in_process(replace(make_job(), method="magic"))
    assert method("sft-refusal").settings is SftSettings
    assert all(callable(known.load()) for known in methods().values())


def test_a_recipe_that_the_engine_could_not_load_is_refused():
    for wrong in ({"rank": 0}, {"target_modules": ["lm_head"]}, {"target_modules": ["q_proj", "q_proj"]}, {"lr": 1}):
        with pytest.raises(ValidationError):
            SftSettings.model_validate(wrong)


def test_jobs_and_results_survive_json(make_job, tmp_path):
    job = make_job()
    assert TrainingJob.from_json(job.to_json()) == job
    result = TrainingResult(tmp_path, 2, 0, (Progress(1, 2, 2.0, {"kl": 0.1}), Progress(2, 2, 1.5)), None, 3, 40, 1.5)
    assert TrainingResult.from_json(result.to_json()) == result


def test_the_parent_stays_light():
    code = "import sys, ratchet_adapters.training.trainers.process\nprint('torch' in sys.modules, 'trl' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).split() == [
        "False",
        "False",
    ]
