"""Deadlines, fail modes and what odd rails return: a failed rail is never an allowing one."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from ratchet_server.rails.runner import GuardRail, RailRunner
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.verdict import Direction, Outcome, RailResult

Body = Callable[[], Awaitable[Any]]


class Rail:
    """A rail that does what it is told."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.cancelled = False

    async def execute(self, messages: Sequence[dict[str, str]], text: str | None) -> RailResult:
        try:
            return await self.body()  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def allow() -> RailResult:
    return RailResult(Outcome.ALLOW)


async def block() -> RailResult:
    return RailResult(Outcome.BLOCK, "no")


async def hang() -> RailResult:
    await asyncio.sleep(600)
    return RailResult(Outcome.ALLOW)


async def hang_on() -> RailResult:
    with suppress(asyncio.CancelledError):  # a rail that swallows its cancellation and allows
        await asyncio.sleep(600)
    return RailResult(Outcome.ALLOW)


async def raise_error() -> RailResult:
    raise ValueError("text of the user")


async def time_out_inside() -> RailResult:
    raise TimeoutError


def returning(value: Any) -> Body:
    async def body() -> Any:
        return value

    return body


def runner(*bodies: Body | GuardRail, parallel: bool = False, max_text_chars: int = 1_000) -> RailRunner:
    rails = tuple(
        body if isinstance(body, GuardRail) else GuardRail(f"rail {index}", Rail(body), 0.05)
        for index, body in enumerate(bodies)
    )
    return RailRunner(Direction.OUTPUT, rails, ScorerPool(), max_text_chars, parallel)


ODD = {
    "hangs": hang,
    "hangs and swallows its cancellation": hang_on,
    "raises": raise_error,
    "times out inside": time_out_inside,
    "returns nothing": returning(None),
    "returns a string": returning("allow"),
    "returns True": returning(True),
    "scores NaN": returning(RailResult(Outcome.ALLOW, score=math.nan)),
    "scores over 1": returning(RailResult(Outcome.ALLOW, scores={"toxicity": 1.5})),
    "says it failed": returning(RailResult(Outcome.FAILED)),
}


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("name", ODD)
async def test_a_rail_that_does_not_decide_has_failed(name: str, parallel: bool) -> None:
    decision = await runner(ODD[name], parallel=parallel).check([], "text", 4)
    assert decision.outcome is Outcome.FAILED
    (verdict,) = decision.verdicts
    assert (verdict.outcome, verdict.enforced) == (Outcome.FAILED, True)
    assert "text of the user" not in verdict.reason


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("name", ODD)
async def test_only_a_rail_set_to_fail_open_lets_text_pass_and_it_says_so(name: str, parallel: bool) -> None:
    rail = GuardRail("odd", Rail(ODD[name]), 0.05, fail_open=True)
    decision = await runner(rail, allow, parallel=parallel).check([], "text", 4)
    assert decision.outcome is Outcome.ALLOW
    assert [(v.outcome, v.enforced) for v in decision.verdicts] == [(Outcome.FAILED, False), (Outcome.ALLOW, True)]


async def test_a_rail_set_to_fail_open_still_blocks() -> None:
    decision = await runner(GuardRail("rail", Rail(block), 1, fail_open=True)).check([], "text", 4)
    assert decision.outcome is Outcome.BLOCK


async def test_rails_run_in_order_until_one_stops_the_text() -> None:
    decision = await runner(allow, block, raise_error).check([], "text", 4)
    assert [v.outcome for v in decision.verdicts] == [Outcome.ALLOW, Outcome.BLOCK]


async def test_in_parallel_the_first_block_cancels_the_rest() -> None:
    slow = Rail(hang)
    begin = time.perf_counter()
    decision = await runner(GuardRail("slow", slow, 60), block, parallel=True).check([], "text", 4)
    assert time.perf_counter() - begin < 5
    assert decision.outcome is Outcome.BLOCK
    assert slow.cancelled


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("own_context", [False, True])
async def test_cancelling_the_check_cancels_the_rail(parallel: bool, own_context: bool) -> None:
    rail = Rail(hang)
    rails = runner(GuardRail("slow", rail, 60, own_context=own_context), parallel=parallel)
    check = asyncio.create_task(rails.check([], "text", 4))
    await asyncio.sleep(0.01)
    check.cancel()
    with pytest.raises(asyncio.CancelledError):
        await check
    await asyncio.sleep(0)
    assert rail.cancelled


async def test_a_text_that_is_too_long_to_judge_has_failed() -> None:
    decision = await runner(allow, max_text_chars=3).check([], "text", 4)
    assert decision.outcome is Outcome.FAILED
    assert "4 characters" in decision.verdicts[0].reason


async def test_no_rails_allow_without_a_verdict() -> None:
    decision = await runner().check([], "text", 4)
    assert (decision.outcome, decision.verdicts) == (Outcome.ALLOW, ())
