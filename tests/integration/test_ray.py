"""A real Ray cluster on loopback: workers train what one process trains, and a dead one is replaced."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from importlib.util import find_spec

import psutil
import pytest
from tests.unit.training.conftest import make_job, tiny_dataset, tiny_model  # noqa: F401

from ratchet_adapters.cluster.settings import RaySettings
from ratchet_adapters.training.backends.backend import training_backend
from ratchet_adapters.training.backends.ray import RayBackend
from ratchet_adapters.training.trainers.sft import train

# Not imported: a command does not have Ray in memory either when it opens a cluster.
pytestmark = [pytest.mark.skipif(find_spec("ray") is None, reason="needs ray"), pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test starts is gone after it, also when it fails."""
    # Ray kills workers when the machine's memory runs short, whoever has it.
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    before = set(psutil.Process().children(recursive=True))
    yield
    deadline = time.monotonic() + 20
    while left := [child for child in psutil.Process().children(recursive=True) if child not in before]:
        if time.monotonic() > deadline:
            names = [child.name() for child in left if child.is_running()]
            for child in left:
                child.kill()
            pytest.fail(f"still running: {names}")
        time.sleep(0.2)


def started() -> list[psutil.Process]:
    """Every process below this one that is still there."""
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def listening_outside() -> list[tuple[str, str]]:
    """(process, address) of what can be reached from other machines."""
    return [
        (" ".join(child.cmdline()).strip(), connection.laddr.ip)
        for child in started()
        for connection in child.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")
    ]


def train_workers() -> list[psutil.Process]:
    """Ray renames a worker process after what it runs."""
    found = []
    for child in started():
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_two_workers_train_what_one_process_trains_and_survive_the_death_of_one(make_job):  # noqa: F811
    recipe = {"batch_size": 2, "epochs": 20.0, "checkpoint_steps": 20}
    alone, shared = make_job("alone", **recipe), make_job("shared", **recipe)
    expected = train(alone)
    backend = training_backend("ray", RaySettings(workers=2))
    assert isinstance(backend, RayBackend)
    steps: list[int] = []
    killed: list[int] = []
    outside: list[tuple[str, str]] = []

    def kill(progress):
        steps.append(progress.step)
        if not killed and any(shared.work.glob("checkpoint-*/FINISHED")):
            victim = train_workers()[-1]
            killed.append(victim.pid)
            outside.extend(listening_outside())
            victim.kill()

    result = backend.run(shared, kill)
    assert killed, "training was over before a worker could be killed"
    assert result.resumed_from >= 20, "it did not continue from a checkpoint"
    assert result.steps == expected.steps == 200
    assert [step for step, _ in result.losses] == list(range(1, 201))
    assert [loss for _, loss in result.losses] == pytest.approx([loss for _, loss in expected.losses], rel=2e-3)
    assert result.validation_loss == pytest.approx(expected.validation_loss, rel=1e-3)
    assert sorted(path.name for path in shared.output.iterdir()) == sorted(path.name for path in alone.output.iterdir())
    # PyTorch's rendezvous store can not be bound to one address; all that is Ray's is on loopback.
    assert len(outside) <= 1 and all("RayTrainWorker" in name for name, _ in outside), outside
    assert not (shared.work / "ray").exists(), "Ray's notes are scratch"
    assert json.loads((shared.work / "outcome.json").read_text())["result"]["steps"] == 200
    assert backend.run(shared) == result, "a finished job returns its result at once"


def test_ray_data_scores_a_log_as_a_process_does_and_continues_a_started_folder(tmp_path):
    from ratchet_adapters.scoring.log import check_log
    from ratchet_adapters.scoring.part_scorer import PartScorer
    from ratchet_adapters.scoring.plan import plan
    from ratchet_adapters.scoring.running import score_on_ray

    file = tmp_path / "log.jsonl"
    rows = [{"id": f"r{n}", "prompt": f"How do I bake bread {n}?", "completion": "Mix flour."} for n in range(9)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    log = check_log(file, rows_per_part=3)
    here, there = plan(log, tmp_path / "here"), plan(log, tmp_path / "there")
    scorer = PartScorer(here)
    assert [scorer.score(part) for part in here.pending] == [3, 3, 3]
    done: list[int] = []
    there.write(1, [{"line": 4}])
    score_on_ray(there, RaySettings(workers=2), lambda part, rows: done.append(part))
    assert sorted(done) == [0, 2], "the part that was there is left alone"
    for part in (0, 2):
        found, expected = (
            [json.loads(line) for line in folder.file(part).read_text().splitlines()] for folder in (there, here)
        )
        assert [row["id"] for row in found] == [row["id"] for row in expected]
        for name in ("toxicity.toxicity", "refusal.refusal", "triage.harm"):
            assert [row[name] for row in found] == pytest.approx([row[name] for row in expected], abs=1e-4)
