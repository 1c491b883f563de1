"""Progress of a run, written to a real registry, not more often than needed."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet_adapters.learning.errors import LearnerStopping, RunCancelled
from ratchet_adapters.learning.progress import RunProgress
from ratchet_adapters.registry import CurvePoint, Registry, RunState


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """A run being carried out, and what writes its progress."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        registry.create_run(method="sft-refusal", options={}, requested_by="tester")
        claimed = registry.claim_next_run()
        assert claimed is not None
        self.run_id = claimed.id
        self.clock = Clock()
        self.stopping = threading.Event()
        self.progress = RunProgress(registry, self.run_id, self.stopping, interval_s=1.0, clock=self.clock)

    @property
    def run(self):  # type: ignore[no-untyped-def]
        return self.registry.run(self.run_id)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Registry.open(f"sqlite:///{tmp_path / 'ratchet.db'}") as registry:
        yield Desk(registry)


def test_the_beginning_of_a_step_is_written_at_once(desk: Desk) -> None:
    desk.progress.begin("train", "starting")
    assert (desk.run.step, desk.run.progress, desk.run.detail) == ("train", 0.0, "starting")


def test_reports_within_the_interval_are_not_written(desk: Desk) -> None:
    desk.progress.begin("train")
    desk.clock.now = 0.9
    desk.progress.report(0.5, "half")
    assert desk.run.progress == 0.0
    desk.clock.now = 1.1
    desk.progress.report(0.6, "more")
    assert (desk.run.progress, desk.run.detail) == (0.6, "more")


def test_the_end_of_a_step_is_written_with_the_losses_held_back(desk: Desk) -> None:
    desk.progress.begin("train")
    desk.progress.point(CurvePoint(1, 3.0))
    desk.progress.point(CurvePoint(2, 2.5, {"kl": 0.25}))
    assert desk.run.curve == ()
    desk.progress.done("trained")
    assert (desk.run.progress, desk.run.curve) == (1.0, ((1, 3.0, {}), (2, 2.5, {"kl": 0.25})))


def test_a_resumed_training_replaces_the_losses_it_repeats(desk: Desk) -> None:
    for step, loss in ((1, 3.0), (2, 2.5), (3, 2.0)):
        desk.progress.point(CurvePoint(step, loss))
    desk.progress.point(CurvePoint(2, 2.4))
    desk.progress.done()
    assert [(point.step, point.loss) for point in desk.run.curve] == [(1, 3.0), (2, 2.4)]


@pytest.mark.parametrize("fraction", [-1.0, 1.5])
def test_a_fraction_out_of_range_is_bounded(desk: Desk, fraction: float) -> None:
    desk.clock.now = 10
    desk.progress.report(fraction)
    assert desk.run.progress in (0.0, 1.0)


def test_a_cancelled_run_is_noticed_at_the_next_write(desk: Desk) -> None:
    desk.progress.begin("train")
    desk.registry.update_run(desk.run_id, state=RunState.CANCELLED)
    desk.clock.now = 2
    with pytest.raises(RunCancelled):
        desk.progress.report(0.5)


def test_a_shutdown_is_noticed_even_between_writes(desk: Desk) -> None:
    desk.progress.begin("train")
    desk.stopping.set()
    with pytest.raises(LearnerStopping):
        desk.progress.report(0.5)
