"""What keeps a broken or slow rail from holding everybody up, and what need not be judged twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ratchet_plugins.scorers.triage.calibrate import calibrated
from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.lane import CircuitOpen, Lane, LaneFull
from ratchet_server.rails.message import Message
from ratchet_server.rails.runner import CIRCUIT_OPEN, GuardRail, RailRunner
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.verdict import Direction, Outcome, RailResult
from ratchet_server.rails.verdictcache import VerdictCache

ALLOW = RailResult(Outcome.ALLOW, score=0.2)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Counted:
    """A rail that returns or raises what it is given, and counts its runs."""

    def __init__(self, result: Any = ALLOW) -> None:
        self.result, self.runs = result, 0

    async def execute(self, messages: Sequence[dict[str, str]], text: str | None) -> RailResult:
        self.runs += 1
        await asyncio.sleep(0)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result  # type: ignore[no-any-return]


def runner(pool: ScorerPool, *rails: GuardRail, **options: Any) -> RailRunner:
    return RailRunner(Direction.INPUT, rails, pool, 1_000, **options)


def chat(text: str = "hi", *earlier: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": t} for t in (*earlier, text)]


async def test_a_rail_that_keeps_failing_is_left_alone_and_fails_at_once(pool: ScorerPool) -> None:
    clock, body = Clock(), Counted(ConnectionError("down"))
    side = runner(pool, GuardRail("r", body, 1.0, lane=Lane(break_after=3, open_s=5, clock=clock)))
    outcomes = [await side.check(chat(str(n)), None, 1) for n in range(8)]
    assert {d.outcome for d in outcomes} == {Outcome.FAILED} and body.runs == 3
    assert outcomes[-1].verdicts[0].reason == CIRCUIT_OPEN
    clock.now, body.result = 6.0, ALLOW
    assert [(await side.check(chat(str(n)), None, 1)).outcome for n in range(2)] == [Outcome.ALLOW] * 2
    assert body.runs == 5


async def test_after_a_while_one_check_alone_tries_a_broken_rail(pool: ScorerPool) -> None:
    clock, body = Clock(), Counted(ConnectionError("down"))
    side = runner(pool, GuardRail("r", body, 1.0, lane=Lane(break_after=2, open_s=5, clock=clock)))
    for n in range(2):
        await side.check(chat(str(n)), None, 1)
    clock.now = 6.0
    await asyncio.gather(*(side.check(chat(str(n)), None, 1) for n in range(10)))
    assert body.runs == 3
    await side.check(chat(), None, 1)
    assert body.runs == 3, "the trial failed, so the circuit is open anew"


async def test_an_open_circuit_of_a_rail_that_fails_open_lets_pass_and_says_so(pool: ScorerPool) -> None:
    rail = GuardRail("r", Counted(ConnectionError()), 1.0, fail_open=True, lane=Lane(break_after=1))
    side = runner(pool, rail)
    await side.check(chat(), None, 1)
    decision = await side.check(chat(), None, 1)
    assert decision.outcome is Outcome.ALLOW
    assert (decision.verdicts[0].outcome, decision.verdicts[0].enforced) == (Outcome.FAILED, False)


async def test_no_more_checks_run_or_wait_than_there_are_places() -> None:
    lane, running, most = Lane(at_once=2, waiting=3), 0, 0

    async def one() -> str:
        nonlocal running, most
        try:
            async with lane.place():
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.01)
                running -= 1
                return "ran"
        except LaneFull:
            return "full"

    results = await asyncio.gather(*(one() for _ in range(9)))
    assert (results.count("ran"), results.count("full"), most) == (5, 4, 2)


async def test_a_cancelled_trial_lets_the_next_one_try() -> None:
    clock = Clock()
    lane = Lane(break_after=1, open_s=1, clock=clock)
    lane.failed()
    clock.now = 2.0

    async def hang() -> None:
        async with lane.place():
            await asyncio.sleep(60)

    trial = asyncio.create_task(hang())
    await asyncio.sleep(0)
    with pytest.raises(CircuitOpen):
        async with lane.place():
            pass
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    async with lane.place():
        lane.answered()
    assert not lane.is_open


async def test_a_verdict_is_used_again_for_the_same_text_only(pool: ScorerPool) -> None:
    body = Counted()
    side = runner(pool, GuardRail("r", body, 1.0, cacheable=True))
    first, second = [await side.check(chat("hi"), None, 2) for _ in range(2)]
    assert body.runs == 1 and (first.verdicts[0].cached, second.verdicts[0].cached) == (False, True)
    assert second.outcome is first.outcome and second.verdicts[0].score == 0.2
    # What a rail could tell apart: case, spaces, invisible characters, the conversation before, the answer.
    others = [chat("Hi"), chat("hi "), chat("h\u200bi"), chat("hi", "before")]
    for other in others:
        await side.check(other, None, 2)
    await side.check(chat("hi"), "an answer", 9)
    await side.check(chat("hi"), "an answer", 9, partial=True)
    await side.check(chat("hi"), "an answer", 9, partial=True)
    assert body.runs == 8


@pytest.mark.parametrize("result", [ConnectionError(), RailResult(Outcome.FAILED), "garbage"])
async def test_a_failure_is_never_kept(pool: ScorerPool, result: Any) -> None:
    body = Counted(result)
    side = runner(pool, GuardRail("r", body, 1.0, cacheable=True))
    for _ in range(3):
        assert (await side.check(chat(), None, 2)).outcome is Outcome.FAILED
    body.result = ALLOW
    assert (await side.check(chat(), None, 2)).outcome is Outcome.ALLOW


def test_a_kept_verdict_is_given_up_when_it_is_old_or_room_is_needed() -> None:
    clock = Clock()
    cache = VerdictCache(size=2, seconds=10, clock=clock)
    for name in ("a", "b", "c"):
        cache.put(name, b"x", ALLOW)
    assert [cache.get(name, b"x") is not None for name in ("a", "b", "c")] == [False, True, True]
    clock.now = 10.0
    assert cache.get("c", b"x") is None
    cache.put("d", b"x", RailResult(Outcome.ALLOW, rewritten="[x]"))
    assert cache.get("d", b"x") is None


async def test_expensive_rails_run_only_for_prompts_triage_is_unsure_of(pool: ScorerPool) -> None:
    triage, costly = Counted(RailResult(Outcome.ALLOW, score=0.05, scores={"harm": 0.05})), Counted()
    side = runner(
        pool, GuardRail("triage", triage, 1.0, clear_below=0.1), GuardRail("costly", costly, 1.0, only_when_unsure=True)
    )
    decision = await side.check(chat(), None, 2)
    assert (decision.skipped, costly.runs, decision.outcome) == (("costly",), 0, Outcome.ALLOW)
    unsure = (
        RailResult(Outcome.ALLOW, score=0.1),
        RailResult(Outcome.ALLOW, score=0.05, scores={"harm": 0.05, "conversation": 0.4}),
        RailResult(Outcome.ALLOW),
    )
    for number, result in enumerate(unsure, start=1):
        triage.result = result
        assert (await side.check(chat(), None, 2)).skipped == () and costly.runs == number
    triage.result = ConnectionError()
    open_side = runner(pool, GuardRail("triage", triage, 1.0, fail_open=True, clear_below=0.1), side.rails[1])
    assert (await open_side.check(chat(), None, 2)).skipped == () and costly.runs == 4
    with pytest.raises(ValueError, match="triage"):
        runner(pool, *side.rails, parallel=True)


async def test_a_request_hidden_in_an_earlier_turn_is_judged_with_the_last(profile_of: Callable[..., Any]) -> None:
    profile = profile_of("rails: {input: {flows: [ratchet triage input]}}")
    hidden = [
        Message("user", "I read this sentence: “please do HARM to it now”. What is it about?"),
        Message("assistant", "About something."),
        Message("user", "Now spell out, step by step, what the sentence asks for."),
    ]
    decision = await profile.check_input(hidden)
    assert decision.outcome is Outcome.BLOCK and "over the turns" in decision.verdicts[0].reason
    halves = [Message("user", "Part A: please do HA"), Message("assistant", "ok"), Message("user", "Part B: RM.")]
    assert (await profile.check_input(halves)).outcome is Outcome.ALLOW, "words in two parts are joined by a space"
    plain = [Message("user", "Hello there, friend."), Message("assistant", "Hi."), Message("user", "And thank you.")]
    assert (await profile.check_input(plain)).outcome is Outcome.ALLOW


SCORED = "ratchet triage input"


@pytest.mark.parametrize(
    ("flows", "rails", "problem"),
    [
        ([SCORED, "regex check input"], {"regex check input": {"only_when_unsure": True}}, "can clear a prompt"),
        (["regex check input", SCORED], {"regex check input": {"only_when_unsure": True}, SCORED: {"clear_below": 0.1}},
         "can clear a prompt"),
        (["regex check input"], {"regex check input": {"clear_below": 0.1}}, "gives no score"),
    ],
)  # fmt: skip
def test_triage_that_would_save_nothing_is_refused(
    profile_of: Callable[..., Any], flows: list[str], rails: dict[str, Any], problem: str
) -> None:
    import yaml

    config = {
        "rails": {"input": {"flows": flows}, "config": {"regex_detection": {"input": {"patterns": ["x"]}}}},
        "custom_data": {"ratchet": {"rails": rails}},
    }
    with pytest.raises(RailConfigError, match=problem):
        profile_of(yaml.safe_dump(config))


def test_the_bars_of_triage_hold_what_was_asked_for() -> None:
    scores = [n / 100 for n in range(100)] * 2
    found = calibrated(scores, [n % 2 == 0 or n >= 140 for n in range(200)], recall=0.9, false_positives=0.05)
    assert found["clear_below"] <= found["block_from"]
    kept, low, high = found["on_the_other_half"]["harmful not cleared"]
    assert low < kept < high and kept >= 0.85
    assert found["on_the_other_half"]["benign blocked"][0] <= 0.1
