"""Two workers on Gloo: they train what one trains, and say so when they do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from ratchet_adapters.datasets.dataset import FORMAT, Dataset, read_dataset, rows_digest
from ratchet_adapters.training.job import TrainingJob, TrainingResult
from ratchet_adapters.training.trainers.schedule import Batch, shares
from ratchet_adapters.training.trainers.sft import train

WORKER = """
import json, sys
import torch, torch.distributed as distributed
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.methods import method
torch.set_num_threads(1)
distributed.init_process_group("gloo")
job = TrainingJob.from_json(json.loads(sys.argv[1]))
{before}
result = method(job.method).load()(job, None)
if distributed.get_rank() == 0:
    print("RESULT" + json.dumps(result.to_json()))
distributed.destroy_process_group()
"""


def two_workers(job: TrainingJob, before: str = "") -> TrainingResult | str:
    """The first worker's result, or what both wrote to standard error."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        **os.environ, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    script, request = WORKER.format(before=before), json.dumps(job.to_json())
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, request],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ended = [process.communicate(timeout=240) for process in running]
    finally:
        for process in running:
            process.kill()
    if any(process.returncode for process in running):
        return "\n".join(errors for _, errors in ended)
    (line,) = [line for line in ended[0][0].splitlines() if line.startswith("RESULT")]
    return TrainingResult.from_json(json.loads(line.removeprefix("RESULT")))


def test_the_shares_of_a_batch_hold_each_row_once_and_one_holds_the_anchor():
    batches = [Batch((5, 6, 7), 2), Batch((8,), 3)]
    divided = shares(batches, 2)
    assert [share.rows for share in divided] == [(6,), (5, 7), (), (8,)]
    assert [share.anchor for share in divided] == [2, -1, 3, -1]
    assert all(share.whole == batches[place // 2].rows and share.of == 2 for place, share in enumerate(divided))
    assert [share.rows for share in shares(batches, 1)] == [batch.rows for batch in batches]


def test_two_workers_train_what_one_trains(make_job, tmp_path):
    recipe = {"batch_size": 6, "accumulate": 2, "anchor_weight": 1.0, "checkpoint_steps": 3, "first_layer": 0.0}
    alone, together = make_job("alone", **recipe), make_job("together", **recipe)
    dataset = read_dataset(alone.dataset)
    anchor = replace(dataset.rows[1], id="anchor", kind="anchor", prompt="", target="w1 w2 w3 w4 w5", cluster=99)
    rows = (*dataset.rows, anchor)
    folder = Dataset(rows, {"format": FORMAT, "rows_digest": rows_digest(rows)}).write(tmp_path / "anchored")
    expected = train(replace(alone, dataset=folder))
    found = two_workers(replace(together, dataset=folder))
    assert isinstance(found, TrainingResult), found
    assert found.steps == expected.steps and found.rows == expected.rows
    assert dict(found.losses) == pytest.approx(dict(expected.losses), rel=1e-4)
    assert found.validation_loss == pytest.approx(expected.validation_loss, rel=1e-4)
    kl = [point.metrics["kl"] for point in found.curve]
    assert kl == pytest.approx([point.metrics["kl"] for point in expected.curve], rel=1e-3, abs=1e-6)
    assert kl[0] == pytest.approx(0, abs=1e-6) and kl[-1] > 1e-5, "the anchor took part, and the model moved"


def test_workers_whose_weights_part_are_an_error_not_a_result(make_job):
    job = make_job()
    apart = (
        "import ratchet_adapters.training.trainers.session as session; session.averaging = lambda t: t.training_step"
    )
    said = two_workers(job, apart)
    assert isinstance(said, str) and "WorkersDisagree" in said
    assert not job.output.exists()


def test_a_batch_that_workers_can_not_share_evenly_is_refused(make_job, monkeypatch):
    from trl import DPOConfig

    from ratchet_adapters.training.errors import BatchNotShared
    from ratchet_adapters.training.trainers import session

    monkeypatch.setattr(session, "workers", lambda: 3)
    job = make_job(batch_size=4)
    with pytest.raises(BatchNotShared, match="3 workers"):
        session.Session(job, read_dataset(job.dataset), "fp32").arguments(DPOConfig)
