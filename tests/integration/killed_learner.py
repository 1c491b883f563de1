"""Learner processes that kill themselves at a stated point, so that the point is exact; run as a script, their parent.

Everything in them is real but the judges: a phrase list and a constant, so that no scorer is loaded a dozen times.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.judges.judge import Answer, Judge, Judgement
from ratchet_adapters.evals.judges.refusal import PhraseRefusalJudge
from ratchet_adapters.learning.learner import Learner
from ratchet_adapters.learning.progress import RunProgress
from ratchet_adapters.learning.settings import LearnerSettings
from ratchet_adapters.learning.steps import BODIES, Body
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.registry import Registry, RunState


class Learners:
    """Learner processes, one after another, forked from a process that has imported everything and started nothing."""

    def __init__(self, settings: LearnerSettings) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._log = settings.state_dir / "learner.log"
        with self._log.open("ab") as log:
            self._parent = subprocess.Popen(
                [sys.executable, __file__, settings.model_dump_json()],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1,
            )  # fmt: skip

    def run(self, kill: str = "") -> int:
        """Run a learner until no run is left, or until its kill point; return its exit code."""
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(f"{kill}\n")
        return int(self._parent.stdout.readline())

    @property
    def last_words(self) -> str:
        return self._log.read_text()[-4000:]

    def close(self) -> None:
        self._parent.kill()
        self._parent.wait()


def fork_learners(settings: LearnerSettings) -> None:
    """Fork a learner for each kill point read, and answer with its exit code."""
    from dbos import DBOS  # noqa: F401

    from ratchet_adapters.datasets import builder  # noqa: F401
    from ratchet_adapters.evals import remote, runner  # noqa: F401
    from ratchet_adapters.learning import workflow  # noqa: F401

    assert threading.active_count() == 1
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            main(settings, line.strip())
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


def main(settings: LearnerSettings, kill: str) -> None:
    """The learner process: the real learner, with notes of what it does and one point at which it dies."""
    from ratchet_adapters.learning import workbench, workflow

    def die_at(point: str) -> None:
        if point == kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def noted(name: str, body: Body) -> Body:
        def run(bench: Workbench, trail: Trail, progress: RunProgress) -> Trail:
            with (settings.state_dir / "bodies.log").open("a") as log:
                log.write(f"{name}\n")
            report = progress.report

            def watched(fraction: float, detail: str = "") -> None:
                report(fraction, detail)
                if fraction > 0.2:
                    die_at(f"{name}:middle")

            progress.report = watched  # type: ignore[method-assign]
            result = body(bench, trail, progress)
            die_at(f"{name}:end")
            return result

        return run

    start = workflow.start

    def started(run_id: str) -> Any:
        die_at("claimed")
        return start(run_id)

    workflow.start = started
    patched: Any = workflow
    patched.BODIES = {name: noted(name, body) for name, body in BODIES.items()}
    workbench._judges = word_judges  # type: ignore[assignment]
    asyncio.run(until_idle(settings))


async def until_idle(settings: LearnerSettings) -> None:
    learner = Learner(settings)
    working = asyncio.create_task(learner.run_forever())
    with Registry.open(settings.registry_url) as registry:
        while not working.done() and any(not RunState(run.state).final for run in registry.runs()):
            await asyncio.sleep(0.05)
    learner.request_stop()
    await working


class NeverToxic:
    name, version = "never-toxic", "1"

    def judge(self, answers: Sequence[Answer]) -> list[Judgement]:
        return [Judgement(0.0, "not_toxic") for _ in answers]


def word_judges() -> dict[Axis, Judge]:
    refusal = PhraseRefusalJudge()
    return {Axis.HARMFUL_REFUSAL: refusal, Axis.OVER_REFUSAL: refusal, Axis.TOXICITY: NeverToxic()}


if __name__ == "__main__":
    fork_learners(LearnerSettings.model_validate_json(sys.argv[1]))
