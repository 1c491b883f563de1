"""The learner process: takes queued runs up, one at a time, and carries each, through restarts, to its end.

Must not know what a run's steps do, nor how a command line starts or stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from ratchet_adapters.learning.errors import LearnerAlreadyRunning
from ratchet_adapters.learning.settings import LearnerSettings
from ratchet_adapters.learning.workbench import Workbench

if TYPE_CHECKING:
    from dbos import WorkflowHandle
    from filelock import FileLock

__all__ = ["APPLICATION_VERSION", "Learner"]

log = logging.getLogger(__name__)

# DBOS takes up only workflows of its own application version. This one stays as it is across releases, so that a run
# begun before an upgrade is finished after it; raise it only when the steps of old runs can no longer be carried on.
APPLICATION_VERSION = "ratchet-learner-1"

_ENDED = frozenset({"SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"})


class Learner:
    """One per process: the workflow library is a process-wide singleton."""

    def __init__(self, settings: LearnerSettings) -> None:
        """Open nothing yet; see `start`."""
        self.settings = settings
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bench: Workbench | None = None
        self._lock: FileLock | None = None
        self._handles: dict[str, WorkflowHandle[str]] = {}

    async def run_forever(self) -> None:
        """Work until `request_stop`, then stop gracefully.

        Raises:
            LearnerAlreadyRunning: Another learner works on this state folder.
        """
        await self.start()
        try:
            while not self._stop.is_set():
                try:
                    await asyncio.to_thread(self._tick)
                except Exception:
                    # A registry that is away for a moment must not end the learner: nothing is lost by looking again.
                    log.exception("the learner could not look for runs; it tries again")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), self.settings.poll_interval_s)
        finally:
            await self.stop()

    def request_stop(self) -> None:
        """Ask `run_forever` to end. Callable from a signal handler or any thread."""
        if self._bench is not None:
            self._bench.stopping.set()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        else:
            self._stop.set()

    async def start(self) -> None:
        """Open the stores and take up the runs that a killed learner left behind."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)

    async def stop(self) -> None:
        """Leave the step in progress to the next start and close everything. Idempotent."""
        await asyncio.to_thread(self._close)

    def _open(self) -> None:
        from ratchet_adapters.artifacts import open_store
        from ratchet_adapters.flags import FlagStore
        from ratchet_adapters.registry import Registry

        settings = self.settings
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        self._acquire_lock()
        try:
            registry = Registry.open(
                settings.registry_url,
                busy_timeout_seconds=settings.registry.busy_timeout_seconds,
                policy=settings.registry.policy,
            )
            self._bench = Workbench(
                settings=settings,
                registry=registry,
                flags=FlagStore.open(registry),
                artifacts=open_store(
                    settings.artifacts.store_url(settings.state_dir),
                    cache=settings.artifacts.cache_dir(settings.state_dir),
                ),
            )
            self._launch(self._bench)
            self._take_up(self._bench)
        except BaseException:
            self._close()
            raise

    def _acquire_lock(self) -> None:
        from filelock import FileLock, Timeout

        path = self.settings.state_dir / f"{self.settings.executor_id}.lock"
        self._lock = FileLock(path, blocking=False, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            self._lock = None
            raise LearnerAlreadyRunning(path) from None

    def _launch(self, bench: Workbench) -> None:
        from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

        from ratchet_adapters.learning import workflow

        workflow.equip(bench)
        config: DBOSConfig = {
            "name": "ratchet-learner",
            "system_database_url": self.settings.workflows_url,
            "application_version": APPLICATION_VERSION,
            "executor_id": self.settings.executor_id,
            # JSON rather than the default pickle: whoever can write the database must not thereby run code here.
            "serializer": DBOSPortableJSONSerializer(),
            "enable_otlp": False,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.launch()

    def _take_up(self, bench: Workbench) -> None:
        """Hold on to the workflows being recovered, and start those that were claimed but never started."""
        from ratchet_adapters.learning import workflow
        from ratchet_adapters.registry import RunState

        for run in bench.registry.runs(limit=1000):
            if run.state == RunState.RUNNING:
                handle = workflow.start(run.id)
                if handle.get_status().executor_id != self.settings.executor_id:
                    # Another learner on the same workflow database has it.
                    continue
                log.info("taking up run %s at step %s", run.id, run.step or "select")
                self._handles[run.id] = handle

    def _tick(self) -> None:
        from ratchet_adapters.learning import workflow

        assert self._bench is not None
        self._let_go()
        if self._handles or self._bench.stopping.is_set():
            return
        run = self._bench.registry.claim_next_run()
        if run is not None:
            log.info("run %s (%s) begins", run.id, run.method)
            self._handles[run.id] = workflow.start(run.id)

    def _let_go(self) -> None:
        """Forget workflows that ended; one that ended without a word leaves its run failed, not running forever."""
        from ratchet_adapters.learning.steps import abandon

        assert self._bench is not None
        for run_id, handle in list(self._handles.items()):
            status = handle.get_status().status
            if status not in _ENDED:
                continue
            del self._handles[run_id]
            if status != "SUCCESS":
                abandon(self._bench, run_id, status)
            log.info("run %s ended", run_id)

    def _close(self) -> None:
        if self._bench is not None:
            from dbos import DBOS

            self._bench.stopping.set()
            self._wait_for_steps()
            DBOS.destroy()
            self._bench.registry.close()
            self._bench = None
            self._handles.clear()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _wait_for_steps(self) -> None:
        """Give the step in progress time to notice the signal; what does not is done again at the next start."""
        from ratchet_adapters.learning import workflow

        deadline = time.monotonic() + self.settings.stop_timeout_s
        while workflow.busy() and time.monotonic() < deadline:
            time.sleep(0.05)
