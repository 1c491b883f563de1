"""The bars of a run's steps, as a log or a narrow terminal sees them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from rich.console import Console
from typer.testing import CliRunner

from ratchet.cli import runs
from ratchet.cli.steps import StepBars
from ratchet.v1 import learning_pb2 as pb
from ratchet.v1 import learning_pb2_grpc

STEPS = ("select", "replay", "train", "register", "load", "evaluate", "gate", "promote")
DETAIL = "step 120 of 480, loss 0.731, [2] held-out perplexity 14.2, about 9 minutes to go on this machine"


def _drawn(*runs: pb.Run, width: int = 80, indent: int = 0) -> list[str]:
    log = io.StringIO()
    with StepBars(Console(file=log, width=width, force_terminal=False), indent=indent) as bars:
        for run in runs:
            bars.show(run)
    return log.getvalue().splitlines()


@pytest.mark.parametrize(("width", "indent"), [(80, 0), (80, 10), (60, 0)])
def test_step_names_stay_whole_beside_long_details(width: int, indent: int) -> None:
    running = [pb.Run(step=step, state=pb.RUN_STATE_RUNNING, progress=0.4, detail=DETAIL) for step in STEPS]
    lines = _drawn(*running, width=width, indent=indent)
    assert [line.split()[0] for line in lines] == list(STEPS)
    assert all(len(line) <= width and line.startswith(" " * indent) for line in lines)
    assert all("0:00:0" in line for line in lines), "the elapsed time stays whole too"
    assert all(" 100% " in line for line in lines[:-1]) and "  40% " in lines[-1]


def test_what_the_learner_says_is_no_markup() -> None:
    assert "[2] of 3" in _drawn(pb.Run(step="train", detail="[2] of 3"))[0]


@pytest.mark.parametrize(
    ("state", "percent"),
    [(pb.RUN_STATE_SUCCEEDED, "100%"), (pb.RUN_STATE_FAILED, "40%"), (pb.RUN_STATE_CANCELLED, "40%")],
)
def test_only_a_run_that_succeeded_ends_full(state: pb.RunState.ValueType, percent: str) -> None:
    assert percent in _drawn(pb.Run(step="gate", state=state, progress=0.4))[0].split()


def test_quiet_draws_nothing() -> None:
    log = io.StringIO()
    with StepBars(Console(file=log), quiet=True) as bars:
        bars.show(pb.Run(step="train", detail="x"))
    assert log.getvalue() == ""


class Replayed(learning_pb2_grpc.LearningServiceServicer):
    """Plays the server's part of a run: its changes, one after another."""

    def WatchRun(self, request: pb.WatchRunRequest, context: object) -> Iterator[pb.WatchRunResponse]:
        for step in STEPS:
            run = pb.Run(id=request.run_id, step=step, state=pb.RUN_STATE_RUNNING, progress=0.5, detail=DETAIL)
            yield pb.WatchRunResponse(run=run)
        yield pb.WatchRunResponse(run=pb.Run(id=request.run_id, step=STEPS[-1], state=pb.RUN_STATE_SUCCEEDED))


@pytest.fixture
def address() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    learning_pb2_grpc.add_LearningServiceServicer_to_server(Replayed(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_watched_run_is_drawn_step_by_step_into_a_pipe(address: str) -> None:
    result = CliRunner().invoke(runs.app, ["watch", "run-1", "--address", address], env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.output.splitlines()] == [*STEPS, "run"]


def test_a_watched_run_is_one_document_per_change_for_programs(address: str) -> None:
    result = CliRunner().invoke(runs.app, ["watch", "run-1", "--address", address, "--json"])
    steps = [json.loads(line)["run"]["step"] for line in result.output.splitlines()]
    assert steps == [*STEPS, STEPS[-1]]
