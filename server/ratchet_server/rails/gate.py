"""The gate between a model and a client: text leaves only as far as the output rails have let it.

Generation runs ahead into a buffer while windows of it are judged. The gate owns the source of the text: whatever ends
the stream, the source is closed once, which aborts the generation. It must not know NeMo, profiles or the wire.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from ratchet_server.rails.settings import Streaming
from ratchet_server.rails.streambuffer import StreamBuffer
from ratchet_server.rails.verdict import ALLOWED, Decision, Direction, Outcome, Verdict

__all__ = ["Blocked", "Finished", "GateEvent", "GuardedStream", "Released", "decided", "nothing"]


@dataclass(frozen=True, slots=True)
class Released:
    """Text that may be shown."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of an answer that has been released whole.

    Attributes:
        decision: Of the output rails, over all windows.
        input_decision: Of the input rails, if the gate raced them.
    """

    decision: Decision
    input_decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """The last event of an answer that was stopped; nothing follows, and generation is aborted.

    Attributes:
        decision: Its outcome is BLOCK, or FAILED if a rail broke.
        direction: Which side stopped it.
        input_decision: Of the input rails, if the gate raced them.
    """

    decision: Decision
    direction: Direction
    input_decision: Decision | None = None


GateEvent = Released | Finished | Blocked
Judge = Callable[[str, bool], Awaitable[Decision]]


class GuardedStream(AsyncIterator[GateEvent]):
    """One guarded answer: `Released` events, then one `Finished` or `Blocked`.

    Args:
        deltas: The text as it is generated. The stream owns it from here on and closes it exactly once.
        judge: Judges (the answer so far, whether more will follow); called with all text from the beginning.
        settings: How to release. `holdback_chars` must be set.
        input_check: The decision on the prompt, still open. Nothing is released or judged before it is there. The
            stream owns it and cancels it if it ends first.

    Raises (from iteration):
        Whatever `deltas` raises. No text that has not passed leaves before or after that.
    """

    def __init__(
        self,
        deltas: AsyncIterator[str],
        judge: Judge,
        settings: Streaming,
        input_check: Awaitable[Decision] | None = None,
    ) -> None:
        self._buffer = StreamBuffer(deltas, settings)
        self._judge = judge
        self._settings = settings
        self._holdback = settings.holdback_chars or 0
        self._input_check = input_check
        self._sent = 0
        self._passed = 0
        self._passed_whole = False
        self._rewritten: str | None = None
        self._decision = ALLOWED
        self._judging: asyncio.Task[Decision] | None = None
        self._judged_to = (0, False)
        self._started = False
        self._events = self._run()

    def __aiter__(self) -> GuardedStream:
        return self

    async def __anext__(self) -> GateEvent:
        self._started = True
        return await self._events.__anext__()

    async def aclose(self) -> None:
        """End the stream: abort generation and the checks under way. Safe to call at any time, also before the first
        event and more than once."""
        if not self._started:
            self._started = True
            await _cancel(self._input_task())
            await self._buffer.close()
        await self._events.aclose()

    def _input_task(self) -> asyncio.Future[Decision] | None:
        return asyncio.ensure_future(self._input_check) if self._input_check is not None else None

    async def _run(self) -> AsyncGenerator[GateEvent, None]:
        input_task = self._input_task()
        try:
            self._buffer.start()
            prompt = await _input_decision(input_task) if input_task is not None else None
            if prompt is not None and prompt.outcome is not Outcome.ALLOW:
                yield Blocked(prompt, Direction.INPUT, prompt)
                return
            while True:
                self._take_verdict()
                if self._decision.outcome is not Outcome.ALLOW:
                    yield Blocked(self._decision, Direction.OUTPUT, prompt)
                    return
                self._buffer.raise_failure()
                text = self._buffer.text() if self._rewritten is None else self._rewritten
                limit = self._limit(len(text))
                if limit > self._sent:
                    released, self._sent = text[self._sent : limit], limit
                    yield Released(released)
                    continue
                if self._passed_whole or (self._buffer.ended and not text):
                    yield Finished(self._decision, prompt)
                    return
                self._judge_if_due(text)
                await self._buffer.wait()
        finally:
            # Each is cancelled before any is waited for: a second cancellation must find nothing still running.
            self._buffer.stop()
            try:
                await _cancel(self._judging, input_task)
            finally:
                await self._buffer.close()

    def _limit(self, length: int) -> int:
        """How far text may have left, as an offset."""
        if self._passed_whole:
            return length
        if self._settings.mode == "buffered":
            return 0
        ahead = self._settings.unreviewed_chars or 0
        return min(length, max(0, self._passed - self._holdback) + ahead)

    def _judge_if_due(self, text: str) -> None:
        if self._judging is not None:
            return
        ended = self._buffer.ended
        if not ended:
            # Judging is worth it when it lets something out, or in bounded mode, when something is out unjudged.
            useful = len(text) - self._holdback > self._sent or self._sent > self._passed - self._holdback
            fresh = len(text) - self._passed
            due = fresh >= self._settings.window_chars or (fresh > 0 and self._buffer.overdue)
            if self._settings.mode == "buffered" or not (useful and due):
                return
        self._buffer.judging(len(text))
        self._judged_to = (len(text), ended)
        self._judging = asyncio.ensure_future(self._judge(text, not ended))
        self._judging.add_done_callback(self._buffer.wake)

    def _take_verdict(self) -> None:
        if self._judging is None or not self._judging.done():
            return
        task, self._judging = self._judging, None
        self._decision = self._sound(_result(task, Direction.OUTPUT).after(self._decision))
        if self._decision.outcome is Outcome.ALLOW:
            self._passed, self._passed_whole = self._judged_to
            self._rewritten = self._decision.rewritten
        self._buffer.judged()

    def _sound(self, decision: Decision) -> Decision:
        """A text can be replaced only while all of it is here and none of it has left."""
        if decision.rewritten is None or (self._judged_to[1] and not self._sent):
            return decision
        return replace(decision, outcome=Outcome.BLOCK, rewritten=None)


async def decided(decision: Decision) -> Decision:
    """An input check whose result is there already."""
    return decision


async def nothing() -> AsyncGenerator[str, None]:
    """The text of an answer that must not be generated."""
    return
    yield


async def _input_decision(task: asyncio.Future[Decision]) -> Decision:
    await asyncio.wait({task})
    return _result(task, Direction.INPUT)


def _result(task: asyncio.Future[Decision], direction: Direction) -> Decision:
    """A check that raised, or was cancelled by someone else, has failed: never a reason to let text out."""
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        return task.result()
    reason = f"the check raised {type(error).__name__}"
    return Decision.of([Verdict("rails", direction, Outcome.FAILED, reason)], {})


async def _cancel(*tasks: asyncio.Future[Any] | None) -> None:
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    if running:
        with suppress(Exception):
            await asyncio.gather(*running, return_exceptions=True)
