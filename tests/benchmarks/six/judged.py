"""Takes the six through registration, load, evaluation, scan and gate, as a run of the learner does.

It must not know what is wrong with any of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tests.benchmarks.six.cases import CASES, Case, Kitchen, Size

from ratchet_adapters.learning import CandidateRefused
from ratchet_adapters.learning.steps import BODIES, conclude, give_up
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench

__all__ = ["Judged", "judged"]


@dataclass(frozen=True)
class Judged:
    """What became of one adapter.

    Attributes:
        name: Of the case.
        wanted: Outcome that it deserves.
        outcome: Outcome that it got.
        reason: The sentence that decided.
        met: Whether it is the wanted one, for the right reason.
        made_seconds, judged_seconds, scan_seconds: How long each took; the scan's is not part of the judging.
        report: Id of the gate report, "" when it got no further than the engine's door.
        adapter: Digest.
    """

    name: str
    wanted: str
    outcome: str
    reason: str
    met: bool
    made_seconds: float
    judged_seconds: float
    scan_seconds: float
    report: str
    adapter: str


def judged(
    bench: Workbench, size: Size, *, cases: Sequence[Case] = CASES, say: Callable[[str], None] = lambda _: None
) -> Iterator[Judged]:
    """Make each adapter, then judge it against the present champion; nothing is promoted.

    Args:
        bench: The learner's stores, of a deployment whose server runs.
        size: Of the trainings.
        cases: Which.
        say: Told of every step.
    """
    kitchen = Kitchen(bench, size)
    for case in cases:
        say(f"{case.name}: training")
        began = time.monotonic()
        trail = case.made(kitchen)
        made = time.monotonic() - began
        yield _one(bench, case, replace(trail, scans=case.scanned), made, say)


def _one(bench: Workbench, case: Case, trail: Trail, made: float, say: Callable[[str], None]) -> Judged:
    seconds: dict[str, float] = {}
    try:
        for name in ("register", "load", "evaluate", *(("scan",) if trail.scans else ()), "gate"):
            say(f"{case.name}: {name}")
            began = time.monotonic()
            trail = BODIES[name](bench, trail, bench.progress(trail.run_id))
            seconds[name] = time.monotonic() - began
        outcome, reason = str(trail.outcome), trail.reason
        conclude(bench, trail, bench.progress(trail.run_id))
    except CandidateRefused as error:
        outcome, reason = "REFUSED", str(error)
        give_up(bench, trail, reason, cancelled=False)
    met = outcome == case.outcome and any(word in reason for word in case.by)
    scan = seconds.pop("scan", 0.0)
    return Judged(
        case.name, case.outcome, outcome, reason, met, made, sum(seconds.values()), scan, trail.report, trail.adapter
    )
