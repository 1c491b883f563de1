"""Tells the runs table how far a run is, not more often than needed, and hears from it that the run was cancelled.

Must not know what the steps do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ratchet_adapters.learning.errors import LearnerStopping, RunCancelled
from ratchet_adapters.registry import CurvePoint, Registry, RunState

__all__ = ["RunProgress", "Tally"]


@dataclass
class Tally:
    """How far a piece of work is: set where the work is done, read where its progress is written."""

    fraction: float = 0.0
    detail: str = ""


class RunProgress:
    """The progress of one run in one step."""

    def __init__(
        self,
        registry: Registry,
        run_id: str,
        stopping: threading.Event,
        *,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write at most once per `interval_s`, counted by `clock`; the beginning and end of a step always."""
        self._registry = registry
        self._run_id = run_id
        self._stopping = stopping
        self._interval_s = interval_s
        self._clock = clock
        self._written_at = float("-inf")
        self._curve: list[CurvePoint] = []
        self._curve_dirty = False

    def begin(self, step: str, detail: str = "") -> None:
        """Say that a step has begun.

        Raises:
            LearnerStopping: The learner is shutting down.
            RunCancelled: The run was cancelled.
        """
        self.check()
        self._registry.update_run(self._run_id, step=step, progress=0.0, detail=detail)
        self._written_at = self._clock()

    def report(self, fraction: float, detail: str = "") -> None:
        """Say how much of the step is done, in [0, 1]. Raises as `begin`, whenever it writes."""
        self._check_stopping()
        if self._clock() - self._written_at < self._interval_s:
            return
        self._write(fraction, detail)

    def point(self, point: CurvePoint) -> None:
        """Add a point to the curve; it is written with the next report. A step seen before is replaced."""
        self._curve = [earlier for earlier in self._curve if earlier.step < point.step]
        self._curve.append(point)
        self._curve_dirty = True

    def curve(self, points: Sequence[CurvePoint]) -> None:
        """Replace the whole curve; it is written with the next report."""
        self._curve = list(points)
        self._curve_dirty = True

    def done(self, detail: str = "") -> None:
        """Say that the step is complete, with everything that was held back."""
        self._write(1.0, detail)

    def check(self) -> None:
        """Raise if the learner is shutting down or the run was cancelled."""
        self._check_stopping()
        if self._registry.run(self._run_id).state == RunState.CANCELLED:
            raise RunCancelled(self._run_id)

    def _check_stopping(self) -> None:
        if self._stopping.is_set():
            raise LearnerStopping(self._run_id)

    def _write(self, fraction: float, detail: str) -> None:
        self.check()
        bounded = min(1.0, max(0.0, fraction))
        if self._curve_dirty:
            self._registry.update_run(self._run_id, progress=bounded, detail=detail, curve=tuple(self._curve))
            self._curve_dirty = False
        else:
            self._registry.update_run(self._run_id, progress=bounded, detail=detail)
        self._written_at = self._clock()
