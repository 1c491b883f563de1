"""Evaluations beside traffic: few at once, set aside when too many, begun anew, and none left behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet_server.engine.engine import Chunk, EngineRequest
from ratchet_server.engine.errors import DeadlineExceeded, EngineUnavailable
from ratchet_server.serving.settings import EvaluationLimits
from ratchet_server.serving.turns import EvaluationTurns

LIMITS = EvaluationLimits(at_once=6, beside_traffic=2, quiet_seconds=0.02)
WORDS = 4


class Paced:
    """An engine that says four words, one at a time, and knows whom it works for."""

    def __init__(self, step: float = 0.001) -> None:
        self.step = step
        self.inside: list[str] = []
        self.begun: list[str] = []
        self.most = 0
        self.error: Exception | None = None

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        self.inside.append(request.request_id)
        self.begun.append(request.request_id)
        self.most = max(self.most, len(self.inside))
        try:
            for word in range(WORDS):
                await asyncio.sleep(self.step)
                if self.error is not None:
                    raise self.error
                yield Chunk(f"{word} ", 1, "stop" if word == WORDS - 1 else None, 3)
        finally:
            # As in the core, where an abort takes until the step is over, whoever leaves meanwhile.
            try:
                await asyncio.sleep(0)
            finally:
                self.inside.remove(request.request_id)


async def said(turns: EvaluationTurns, engine: Any, name: str, deadline: float | None = None) -> str:
    return "".join([chunk.text async for chunk in turns.answer(engine, EngineRequest(name, deadline=deadline))])


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_when_traffic_begins_the_youngest_leave_the_engine_and_are_answered_whole_afterwards() -> None:
    engine, turns = Paced(step=0.02), EvaluationTurns(LIMITS)
    work = [asyncio.create_task(said(turns, engine, f"e{n}")) for n in range(10)]
    await until(lambda: len(engine.inside) == LIMITS.at_once)
    with turns.traffic():
        await until(lambda: len(engine.inside) == LIMITS.beside_traffic)
        assert engine.inside == ["e0", "e1"], "the oldest stay, so that their work is not lost"
        engine.most = 0
        await until(lambda: work[2].done())
        assert engine.most <= LIMITS.beside_traffic
    assert await asyncio.gather(*work) == ["0 1 2 3 "] * 10
    assert turns.set_aside == 4 and len(engine.begun) == 14
    assert (turns.running, turns.waiting) == (0, 0)


async def test_traffic_without_end_does_not_starve_an_evaluation() -> None:
    engine, turns = Paced(), EvaluationTurns(LIMITS)
    with turns.traffic():
        async with asyncio.timeout(5):
            assert len(await asyncio.gather(*(said(turns, engine, f"e{n}") for n in range(20)))) == 20
    assert engine.most == LIMITS.beside_traffic


async def test_a_pause_in_traffic_is_not_filled_up_at_once() -> None:
    engine, turns = Paced(step=0.005), EvaluationTurns(LIMITS)
    with turns.traffic():
        work = [asyncio.create_task(said(turns, engine, f"e{n}")) for n in range(12)]
        await until(lambda: len(engine.inside) == LIMITS.beside_traffic)
    assert turns.limit == LIMITS.beside_traffic
    await until(lambda: len(engine.inside) == LIMITS.at_once)
    await asyncio.gather(*work)


async def test_whoever_fails_leaves_or_waits_too_long_gives_the_turn_on() -> None:
    engine, turns = Paced(), EvaluationTurns(EvaluationLimits(at_once=1, beside_traffic=1))
    engine.error = EngineUnavailable("it is restarting")
    with pytest.raises(EngineUnavailable):
        await said(turns, engine, "fails")
    engine.error, engine.step = None, 0.05
    first = asyncio.create_task(said(turns, engine, "leaves"))
    second = asyncio.create_task(said(turns, engine, "waits and leaves"))
    await until(lambda: turns.waiting == 1)
    with pytest.raises(DeadlineExceeded):
        await said(turns, engine, "late", time.monotonic() + 0.01)
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert (turns.running, turns.waiting, engine.inside) == (0, 0, [])
    engine.step = 0.001
    assert await said(turns, engine, "last") == "0 1 2 3 "


EVENTS = st.lists(
    st.sampled_from(["evaluation", "request comes", "request goes", "cancel", "time"]), min_size=1, max_size=25
)


@settings(max_examples=40, deadline=None)
@given(events=EVENTS)
def test_whatever_comes_and_goes_traffic_meets_no_more_than_the_limit_and_every_answer_is_whole(
    events: list[str],
) -> None:
    async def play() -> None:
        engine, turns = Paced(step=0.0), EvaluationTurns(EvaluationLimits(at_once=4, beside_traffic=1, quiet_seconds=0))
        work: list[asyncio.Task[str]] = []
        held: list[Any] = []
        for event in events:
            if event == "evaluation":
                work.append(asyncio.create_task(said(turns, engine, f"e{len(work)}")))
            elif event == "request comes":
                held.append(turns.traffic())
                held[-1].__enter__()
                # An abort is through once the loop has gone round a few times.
                for _ in range(8):
                    await asyncio.sleep(0)
            elif event == "request goes" and held:
                held.pop().__exit__(None, None, None)
            elif event == "cancel" and work:
                work[len(work) // 2].cancel()
            else:
                await asyncio.sleep(0)
            if held:
                assert len(engine.inside) <= 1
        while held:
            held.pop().__exit__(None, None, None)
        async with asyncio.timeout(5):
            answers = await asyncio.gather(*work, return_exceptions=True)
        assert all(answer == "0 1 2 3 " or isinstance(answer, asyncio.CancelledError) for answer in answers)
        assert (turns.running, turns.waiting, engine.inside) == (0, 0, [])

    asyncio.run(play())


def test_limits_that_cannot_be_kept_are_refused() -> None:
    for wrong in ({"beside_traffic": 0}, {"at_once": 2, "beside_traffic": 3}, {"quiet_seconds": -1}, {"typo": 1}):
        with pytest.raises(ValueError, match=r"validation error"):
            EvaluationLimits.model_validate(wrong)
