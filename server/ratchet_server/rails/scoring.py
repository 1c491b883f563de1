"""Runs scorers off the event loop, one bounded thread each, and lets concurrent calls share a batch.

While a batch runs, the texts that come wait and make the next one: no timer, and no batch when nobody else asks.
It must not know rails; deadlines are the callers'.
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

from ratchet_plugins.scorers.registry import load_scorer
from ratchet_plugins.scorers.scorer import Scorer
from ratchet_server.rails.errors import ScorerOverloaded, ScorerStopped

__all__ = ["BatchedScorer", "ScorerPool"]

_Row = dict[str, float]


@dataclass(frozen=True, slots=True)
class _Job:
    texts: list[str]
    result: Future[list[_Row]]


class _Remembered:
    """The last scores, by digest of the text: a growing answer is scored again only where it grew. Keeps no text."""

    def __init__(self, size: int) -> None:
        self._rows: OrderedDict[bytes, _Row] = OrderedDict()
        self._size = size
        self._lock = threading.Lock()

    @staticmethod
    def key(text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20).digest()

    def get(self, key: bytes) -> _Row | None:
        with self._lock:
            row = self._rows.get(key)
            if row is not None:
                self._rows.move_to_end(key)
            return row

    def put(self, key: bytes, row: _Row) -> None:
        with self._lock:
            self._rows[key] = row
            while len(self._rows) > self._size:
                self._rows.popitem(last=False)


class BatchedScorer:
    """One scorer behind one thread.

    Args:
        scorer: A synchronous scorer.
        max_batch: Texts scored in one call at most.
        max_waiting: Calls that may wait; more are refused.
        remembered: Texts whose scores are kept.
    """

    def __init__(self, scorer: Scorer, *, max_batch: int = 32, max_waiting: int = 512, remembered: int = 4_096) -> None:
        self.scorer = scorer
        self._max_batch = max_batch
        self._jobs: queue.Queue[_Job | None] = queue.Queue(max_waiting)
        self._memory = _Remembered(remembered)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = False

    async def score(self, texts: Sequence[str]) -> list[_Row]:
        """Score texts.

        Cancelling the call drops texts that no batch has begun with; a running batch ends on its own.

        Returns:
            One dict of label to value per text, in order.

        Raises:
            ScorerError: The scorer failed on these texts. Texts of other calls in the batch do not matter.
            ScorerOverloaded: Too many calls wait.
            ScorerStopped: The pool was closed.
        """
        keys = [self._memory.key(text) for text in texts]
        rows = [self._memory.get(key) for key in keys]
        missing = [index for index, row in enumerate(rows) if row is None]
        if missing:
            fresh = await asyncio.wrap_future(self._submit([texts[index] for index in missing]))
            for index, row in zip(missing, fresh, strict=True):
                rows[index] = row
                self._memory.put(keys[index], row)
        return [dict(row) for row in rows if row is not None]

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

    def _submit(self, texts: list[str]) -> Future[list[_Row]]:
        job = _Job(texts, Future())
        with self._lock:
            if self._closed:
                raise ScorerStopped(f"The scorer {self.scorer.name!r} is closed: the server is stopping.")
            if self._thread is None:
                name = f"ratchet-scorer-{self.scorer.name}"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise ScorerOverloaded(
                f"{self._jobs.maxsize} calls wait for the scorer {self.scorer.name!r}: send less, or add servers."
            ) from None
        return job.result

    def _refuse(self, job: _Job | None) -> None:
        if job is not None and job.result.set_running_or_notify_cancel():
            job.result.set_exception(ScorerStopped(f"The scorer {self.scorer.name!r} was closed while a text waited."))

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
            # A caller that is gone is not scored for.
            self._run([job for job in batch if job.result.set_running_or_notify_cancel()])

    def _run(self, batch: list[_Job]) -> None:
        if not batch:
            return
        try:
            rows = self._score([text for job in batch for text in job.texts])
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

    def _run_alone(self, job: _Job) -> None:
        try:
            job.result.set_result(self._score(job.texts))
        except Exception as error:
            job.result.set_exception(error)

    def _score(self, texts: list[str]) -> list[_Row]:
        rows: list[_Row] = []
        for begin in range(0, len(texts), self._max_batch):
            part = texts[begin : begin + self._max_batch]
            scored = self.scorer.score(part)
            if len(scored) != len(part):
                raise ValueError(f"scorer {self.scorer.name!r} returned {len(scored)} rows for {len(part)} texts")
            rows += scored
        return rows


class ScorerPool:
    """The scorers of all profiles, each loaded once and behind one thread. Implements the rails' `Scoring` port.

    Args:
        load: Makes the scorer of a name; the registry of the scorers by default.
    """

    def __init__(self, load: Callable[[str], Scorer] = load_scorer) -> None:
        self._load = load
        self._scorers: dict[str, BatchedScorer] = {}
        self._lock = threading.Lock()

    def scorer(self, name: str) -> Scorer:
        """Return the scorer of that name, loading it at first use. Raises ScorerUnavailable."""
        return self._batched(name).scorer

    async def score(self, name: str, texts: Sequence[str]) -> list[_Row]:
        """Score texts; see `BatchedScorer.score`."""
        return await self._batched(name).score(texts)

    def warm_up(self, name: str) -> None:
        """Load a scorer and let it score once, so that no request pays for it. Raises what the scorer raises."""
        self.scorer(name).score(["warm-up"])

    def close(self) -> None:
        """Stop all threads."""
        with self._lock:
            scorers = list(self._scorers.values())
        for scorer in scorers:
            scorer.close()

    def _batched(self, name: str) -> BatchedScorer:
        with self._lock:
            if name not in self._scorers:
                self._scorers[name] = BatchedScorer(self._load(name))
            return self._scorers[name]
