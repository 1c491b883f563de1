"""How a run is carried through its steps, with real DBOS and a real registry; the steps' bodies are played."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.learning import Learner, LearnerAlreadyRunning, LearnerSettings, ServerUnavailable
from ratchet_adapters.learning.progress import RunProgress
from ratchet_adapters.learning.steps import Body
from ratchet_adapters.learning.trail import STEPS, Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.redteam.trigger_settings import CandidateScan
from ratchet_adapters.registry import Registry, RunRecord, RunState

DIGEST = "sha256:" + "c" * 64


class Play:
    """Steps that only note that they were done; single ones can be replaced."""

    def __init__(self, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from ratchet_adapters.learning import workflow

        self.done: list[str] = []
        self.bodies: dict[str, Body] = {name: self._body(name) for name in STEPS}
        monkeypatch.setattr(workflow, "BODIES", self.bodies)
        self.settings = LearnerSettings(
            state_dir=state_dir,
            server="127.0.0.1:1",
            poll_interval_s=0.02,
            step_attempts=3,
            step_backoff_s=0.01,
            progress_interval_s=0.0,
            stop_timeout_s=5,
            trigger_scan=CandidateScan(enabled=True),
        )
        self.registry = Registry.open(self.settings.registry_url)

    def _body(self, name: str) -> Body:
        def body(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
            self.done.append(name)
            match name:
                case "select":
                    run = bench.registry.run(trail.run_id)
                    return trail.with_(
                        method=run.method,
                        promote_on_pass=run.promote_on_pass,
                        scans=bench.settings.trigger_scan.enabled,
                    )
                case "gate":
                    return trail.with_(outcome="PASS", reason="Every axis passed.", routing_version=1)
                case "promote":
                    return trail.with_(promoted=True)
                case _:
                    return trail

        return body

    def queue(self, **fields: Any) -> str:
        return self.registry.create_run(
            **{"method": "sft-refusal", "promote_on_pass": True, **fields}, options={}, requested_by="tester"
        ).id

    @asynccontextmanager
    async def learning(self) -> AsyncIterator[Learner]:
        learner = Learner(self.settings)
        task = asyncio.create_task(learner.run_forever())
        try:
            yield learner
        finally:
            learner.request_stop()
            await task

    async def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.02)

    async def end_of(self, run_id: str) -> RunRecord:
        await self.until(lambda: RunState(self.registry.run(run_id).state).final)
        return self.registry.run(run_id)


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    return Play(tmp_path, monkeypatch)


async def test_a_run_goes_through_every_step_in_order_and_succeeds(play: Play) -> None:
    run_id = play.queue()
    async with play.learning():
        run = await play.end_of(run_id)
    assert (run.state, run.error, run.progress) == (RunState.SUCCEEDED, "", 1.0)
    assert tuple(play.done) == STEPS
    assert "PASS" in run.detail and run.ended_at is not None


async def test_a_candidate_is_not_scanned_unless_the_settings_asked_for_it_when_the_run_began(play: Play) -> None:
    play.settings = play.settings.model_copy(update={"trigger_scan": CandidateScan()})
    run_id = play.queue()
    async with play.learning():
        run = await play.end_of(run_id)
    assert run.state == RunState.SUCCEEDED
    assert tuple(play.done) == tuple(step for step in STEPS if step != "scan")


async def test_a_run_that_did_not_ask_for_it_is_not_promoted(play: Play) -> None:
    run_id = play.queue(promote_on_pass=False)
    async with play.learning():
        run = await play.end_of(run_id)
    assert run.state == RunState.SUCCEEDED and "promote" not in play.done


async def test_a_report_that_is_no_pass_ends_the_run_without_promotion(play: Play) -> None:
    play.bodies["gate"] = lambda bench, trail, progress: trail.with_(outcome="INCONCLUSIVE", reason="Too few items.")
    run_id = play.queue()
    async with play.learning():
        run = await play.end_of(run_id)
    assert run.state == RunState.SUCCEEDED and "promote" not in play.done
    assert "INCONCLUSIVE" in run.detail and "Too few items." in run.detail


async def test_a_failed_step_ends_the_run_with_its_reason_and_nothing_after_it_happens(play: Play) -> None:
    def broken(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
        raise OSError(28, "No space left on device")

    play.bodies["train"] = broken
    run_id = play.queue()
    async with play.learning():
        run = await play.end_of(run_id)
    assert run.state == RunState.FAILED and run.step == "train"
    assert "No space left on device" in run.error and "OSError" in run.error
    assert play.done == ["select", "replay"]


async def test_the_next_run_is_taken_up_after_one_that_failed(play: Play) -> None:
    working, failures = play.bodies["select"], iter([True, False])

    def sometimes(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
        if next(failures):
            raise ValueError("the first one fails")
        return working(bench, trail, progress)

    play.bodies["select"] = sometimes
    first, second = play.queue(), play.queue()
    async with play.learning():
        assert (await play.end_of(first)).state == RunState.FAILED
        assert (await play.end_of(second)).state == RunState.SUCCEEDED


async def test_a_server_that_comes_back_is_waited_for(play: Play) -> None:
    attempts = []

    def flaky(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
        attempts.append(1)
        if len(attempts) < 3:
            raise ServerUnavailable(bench.settings.server, "connection refused")
        return trail

    play.bodies["load"] = flaky
    run_id = play.queue()
    async with play.learning():
        run = await play.end_of(run_id)
    assert run.state == RunState.SUCCEEDED and len(attempts) == 3


async def test_a_server_that_stays_away_fails_the_run_after_a_bounded_number_of_attempts(play: Play) -> None:
    attempts = []

    def away(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
        attempts.append(1)
        raise ServerUnavailable(bench.settings.server, "connection refused")

    play.bodies["load"] = away
    run_id = play.queue()
    async with play.learning():
        run = await play.end_of(run_id)
    assert run.state == RunState.FAILED and len(attempts) == play.settings.step_attempts
    assert "did not answer" in run.error and "ratchet doctor" in run.error


async def test_a_cancelled_run_stops_in_the_step_it_is_in(play: Play) -> None:
    started = threading.Event()

    def long(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
        started.set()
        for count in range(1000):
            progress.report(count / 1000)
            threading.Event().wait(0.01)
        return trail

    play.bodies["train"] = long
    run_id = play.queue()
    async with play.learning():
        await play.until(started.is_set)
        play.registry.update_run(run_id, state=RunState.CANCELLED)
        await asyncio.sleep(0.3)
        assert "register" not in play.done
        assert play.registry.run(run_id).state == RunState.CANCELLED
        other = play.queue()
        play.bodies["train"] = play._body("train")
        assert (await play.end_of(other)).state == RunState.SUCCEEDED


async def test_a_graceful_stop_leaves_the_step_to_the_next_learner(play: Play) -> None:
    started = threading.Event()

    def long(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
        started.set()
        while True:
            progress.report(0.5)
            threading.Event().wait(0.01)

    play.bodies["train"] = long
    run_id = play.queue()
    async with play.learning():
        await play.until(started.is_set)
    assert play.registry.run(run_id).state == RunState.RUNNING
    play.bodies["train"] = play._body("train")
    async with play.learning():
        run = await play.end_of(run_id)
    assert run.state == RunState.SUCCEEDED
    assert tuple(play.done) == STEPS, "the steps before it were not done again"


async def test_a_run_claimed_by_a_learner_that_died_at_once_is_started(play: Play) -> None:
    run_id = play.queue()
    assert play.registry.claim_next_run() is not None
    async with play.learning():
        assert (await play.end_of(run_id)).state == RunState.SUCCEEDED


async def test_two_learners_do_not_share_a_state_folder(play: Play) -> None:
    async with play.learning():
        await asyncio.sleep(0.3)
        with pytest.raises(LearnerAlreadyRunning, match="state folder"):
            await Learner(play.settings).start()


async def test_a_stopped_learner_lets_go_of_the_state_folder(play: Play) -> None:
    for _ in range(2):
        async with play.learning():
            await asyncio.sleep(0.2)


async def test_a_run_that_makes_no_adapter_ends_after_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(tmp_path, monkeypatch)

    def train(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
        play.done.append("train")
        folder = tmp_path / "reward"
        folder.mkdir()
        (folder / "weights").write_bytes(b"1")
        return trail.with_(adapter=bench.artifacts.put_folder(folder))

    play.bodies["train"] = train
    run_id = play.queue(method="reward-model")
    async with play.learning():
        run = await play.end_of(run_id)
    assert play.done == ["select", "replay", "train"]
    assert (run.state, run.adapter_digest, run.error) == (RunState.SUCCEEDED, "", "")
    assert "serves nobody" in run.detail
