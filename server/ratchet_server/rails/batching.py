"""Puts concurrent calls into one batch on one bounded thread.

While a batch runs, the texts that come wait and make the next one: no timer, and no batch when nobody else asks. The
results of the last texts are kept, by digest. It must not know what is computed; deadlines are the callers'.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from ratchet_server.rails.errors import ScorerOverloaded, ScorerStopped

__all__ = ["Batcher"]

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class _Job(Generic[Row]):
    texts: list[str]
    result: Future[list[Row]]


class _Remembered(Generic[Row]):
    """The last results, by digest of the text: a growing answer is read again only where it grew. Keeps no text."""

    def __init__(self, size: int) -> None:
        self._rows: OrderedDict[bytes, Row] = OrderedDict()
        self._size = size
        self._lock = threading.Lock()

    @staticmethod
    def key(text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()

    def get(self, key: bytes) -> Row | None:
        with self._lock:
            row = self._rows.get(key)
            if row is not None:
                self._rows.move_to_end(key)
            return row

    def put(self, key: bytes, row: Row) -> None:
        with self._lock:
            self._rows[key] = row
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)


class Batcher(Generic[Row]):
    """One computation behind one thread.

    Args:
        name: For errors and the thread.
        compute: One row per text, in order. Rows are shared between calls: nobody may change them.
        max_batch: Texts computed in one call at most.
        max_waiting: Calls that may wait; more are refused.
        remembered: Texts whose rows are kept.
    """

    def __init__(
        self,
        name: str,
        compute: Callable[[list[str]], Sequence[Row]],
        *,
        max_batch: int = 32,
        max_waiting: int = 512,
        remembered: int = 4_096,
    ) -> None:
        self.name = name
        self._compute = compute
        self._max_batch = max_batch
        self._jobs: queue.Queue[_Job[Row] | None] = queue.Queue(max_waiting)
        self._memory: _Remembered[Row] = _Remembered(remembered)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def run(self, texts: Sequence[str]) -> list[Row]:
        """Compute rows.

        Cancelling the call drops texts that no batch has begun with; a running batch ends on its own.

        Returns:
            One row per text, in order.

        Raises:
            Exception: The computation failed on these texts. Texts of other calls in the batch do not matter.
            ScorerOverloaded: Too many calls wait.
            ScorerStopped: The batcher was closed.
        """
        keys = [self._memory.key(text) for text in texts]
        rows = {key: row for key in keys if (row := self._memory.get(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
        if missing:
            fresh = await asyncio.wrap_future(self._submit(list(missing.values())))
            for key, row in zip(missing, fresh, strict=True):
                rows[key] = row
                self._memory.put(key, row)
        return [rows[key] for key in keys]

    def close(self) -> None:
        """Stop the thread once its batch is done; waiting calls get ScorerStopped."""
        with self._lock:
            self._closed = True
            thread = self._thread
        while not self._jobs.empty():
            self._refuse(self._jobs.get_nowait())
        if thread is not None:
            self._jobs.put(None)
            thread.join(timeout=10)

    def _submit(self, texts: list[str]) -> Future[list[Row]]:
        job: _Job[Row] = _Job(texts, Future())
        with self._lock:
            if self._closed:
                raise ScorerStopped(f"The scorer {self.name!r} is closed: the server is stopping.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"ratchet-scorer-{self.name}", daemon=True)
                self._thread.start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise ScorerOverloaded(
                f"{self._jobs.maxsize} calls wait for the scorer {self.name!r}: send less, or add servers."
            ) from None
        return job.result

    def _refuse(self, job: _Job[Row] | None) -> None:
        if job is not None and job.result.set_running_or_notify_cancel():
            job.result.set_exception(ScorerStopped(f"The scorer {self.name!r} was closed while a text waited."))

    def _work(self) -> None:
        stop = False
        while not stop:
            first = self._jobs.get()
            batch = [first] if first is not None else []
            stop = first is None
            size = len(first.texts) if first is not None else 0
            while not stop and size < self._max_batch:
                try:
                    following = self._jobs.get_nowait()
                except queue.Empty:
                    break
                stop = following is None
                if following is not None:
                    batch.append(following)
                    size += len(following.texts)
            # A caller that is gone is not computed for.
            self._run([job for job in batch if job.result.set_running_or_notify_cancel()])

    def _run(self, batch: list[_Job[Row]]) -> None:
        if not batch:
            return
        try:
            rows = self._rows([text for job in batch for text in job.texts])
        except Exception as error:
            if len(batch) == 1:
                batch[0].result.set_exception(error)
                return
            for job in batch:  # one text must not fail the others' calls
                self._run_alone(job)
            return
        for job in batch:
            job.result.set_result(rows[: len(job.texts)])
            rows = rows[len(job.texts) :]

    def _run_alone(self, job: _Job[Row]) -> None:
        try:
            job.result.set_result(self._rows(job.texts))
        except Exception as error:
            job.result.set_exception(error)

    def _rows(self, texts: list[str]) -> list[Row]:
        rows: list[Row] = []
        for begin in range(0, len(texts), self._max_batch):
            part = texts[begin : begin + self._max_batch]
            computed = self._compute(part)
            if len(computed) != len(part):
                raise ValueError(f"scorer {self.name!r} returned {len(computed)} rows for {len(part)} texts")
            rows += computed
        return rows
