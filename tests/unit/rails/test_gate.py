"""The hold-back gate under random chunking, slow, failing and raising checks, and cancellation at any await."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet_server.rails.gate import Blocked, Finished, GateEvent, GuardedStream, Released
from ratchet_server.rails.settings import Streaming
from ratchet_server.rails.verdict import ALLOWED, Decision, Direction, Outcome, Verdict

VIOLATION = "secret-code"
# Letters of the violation, so that random text is full of its beginnings.
clean_text = st.text(alphabet="secrt-od X\u200bé", max_size=120).filter(lambda text: VIOLATION not in text)
pauses = st.lists(st.integers(0, 3), min_size=1, max_size=5)


def verdict(outcome: Outcome) -> Decision:
    return Decision.of([Verdict("rail", Direction.OUTPUT, outcome)], {})


class Judge:
    """Blocks the violation; may be slow, and may fail or raise at its n-th call."""

    def __init__(self, slow: Sequence[int] = (0,), fail_at: int = -1, error: Exception | None = None) -> None:
        self.slow, self.fail_at, self.error = list(slow), fail_at, error
        self.calls: list[tuple[str, bool]] = []

    async def __call__(self, text: str, partial: bool) -> Decision:
        number = len(self.calls)
        self.calls.append((text, partial))
        for _ in range(self.slow[number % len(self.slow)]):
            await asyncio.sleep(0)
        if number == self.fail_at:
            if self.error is not None:
                raise self.error
            return verdict(Outcome.FAILED)
        return verdict(Outcome.BLOCK if VIOLATION in text else Outcome.ALLOW)


@st.composite
def chunked(draw: st.DrawFn, text: st.SearchStrategy[str]) -> list[str]:
    whole = draw(text)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=30)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


violating = st.builds(lambda before, after: before + VIOLATION + after, clean_text, clean_text)


def streaming(mode: str, **changes: Any) -> Streaming:
    values = {"mode": mode, "window_chars": 8, "holdback_chars": len(VIOLATION), "max_wait_ms": 1, **changes}
    return Streaming.model_validate(values)


async def collect(stream: GuardedStream) -> tuple[str, GateEvent | None, int]:
    """Returns (text released, last event, number of final events)."""
    text, finals = "", []
    async for event in stream:
        if isinstance(event, Released):
            assert not finals, "text after the final event"
            assert event.text
            text += event.text
        else:
            finals.append(event)
    return text, finals[-1] if finals else None, len(finals)


modes = st.one_of(
    st.builds(lambda window: streaming("strict", window_chars=window), st.integers(1, 40)),
    st.builds(
        lambda window, n: streaming("bounded", window_chars=window, unreviewed_chars=n),
        st.integers(1, 40),
        st.integers(1, 30),
    ),
    st.just(streaming("buffered")),
)


@settings(max_examples=150, deadline=None)
@given(chunked(clean_text), pauses, pauses, modes)
def test_clean_text_arrives_byte_identical_in_every_mode(
    parts: list[str], waits: list[int], slow: list[int], mode: Streaming
) -> None:
    async def scenario() -> None:
        source = Source(parts, waits)
        text, last, finals = await collect(GuardedStream(source, Judge(slow), mode))
        assert text == "".join(parts)
        assert finals == 1
        assert isinstance(last, Finished)
        assert source.closed == 1

    asyncio.run(scenario())


@settings(max_examples=250, deadline=None)
@given(chunked(violating), pauses, pauses, modes)
def test_no_mode_leaks_more_of_a_violation_than_it_promises(
    parts: list[str], waits: list[int], slow: list[int], mode: Streaming
) -> None:
    async def scenario() -> None:
        whole = "".join(parts)
        source = Source(parts, waits)
        text, last, finals = await collect(GuardedStream(source, Judge(slow), mode))
        allowed = 0 if mode.mode == "buffered" else whole.index(VIOLATION) + (mode.unreviewed_chars or 0)
        assert whole.startswith(text)
        assert len(text) <= allowed
        assert finals == 1
        assert isinstance(last, Blocked)
        assert (last.direction, last.decision.outcome) == (Direction.OUTPUT, Outcome.BLOCK)
        assert source.closed == 1

    asyncio.run(scenario())


@settings(max_examples=150, deadline=None)
@given(chunked(clean_text.filter(bool)), pauses, st.integers(0, 4), st.booleans(), modes)
def test_a_check_that_fails_or_raises_stops_the_stream_as_failed(
    parts: list[str], waits: list[int], fail_at: int, raises: bool, mode: Streaming
) -> None:
    async def scenario() -> None:
        source = Source(parts, waits)
        judge = Judge(fail_at=fail_at, error=RuntimeError("broken") if raises else None)
        text, last, _ = await collect(GuardedStream(source, judge, mode))
        assert source.closed == 1
        if fail_at >= len(judge.calls):
            assert isinstance(last, Finished)
            return
        assert isinstance(last, Blocked)
        assert last.decision.outcome is Outcome.FAILED
        passed = len(judge.calls[fail_at - 1][0]) if fail_at else 0
        reviewed = 0 if mode.mode == "buffered" else max(0, passed - len(VIOLATION))
        assert len(text) <= reviewed + (mode.unreviewed_chars or 0)

    asyncio.run(scenario())


@settings(max_examples=200, deadline=None)
@given(chunked(violating), pauses, pauses, modes, st.integers(0, 60), st.booleans())
def test_cancelling_at_any_await_closes_the_source_once_and_leaves_no_task(
    parts: list[str], waits: list[int], slow: list[int], mode: Streaming, steps: int, with_input: bool
) -> None:
    async def scenario() -> None:
        source = Source(parts, waits)
        released: list[str] = []

        async def consume() -> None:
            check = slow_input(Outcome.ALLOW, 3) if with_input else None
            async for event in GuardedStream(source, Judge(slow), mode, check):
                if isinstance(event, Released):
                    released.append(event.text)

        client = asyncio.create_task(consume())
        for _ in range(steps):
            await asyncio.sleep(0)
        client.cancel()
        await asyncio.wait({client})
        for _ in range(5):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert source.closed == (1 if steps else 0), "a client cancelled before its first step opened nothing"
        whole, allowed = "".join(parts), "".join(parts).index(VIOLATION) + (mode.unreviewed_chars or 0)
        assert whole.startswith("".join(released))
        assert len("".join(released)) <= allowed

    asyncio.run(scenario())


class Source:
    """Text in given parts, with pauses; counts closings."""

    def __init__(self, parts: Sequence[str], waits: Sequence[int] = (0,), error: Exception | None = None) -> None:
        self.parts, self.waits, self.error = list(parts), list(waits), error
        self.read = 0
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        for _ in range(self.waits[self.read % len(self.waits)]):
            await asyncio.sleep(0)
        if self.read == len(self.parts):
            if self.error is not None:
                raise self.error
            raise StopAsyncIteration
        self.read += 1
        return self.parts[self.read - 1]

    async def aclose(self) -> None:
        self.closed += 1


async def slow_input(outcome: Outcome, steps: int = 5) -> Decision:
    for _ in range(steps):
        await asyncio.sleep(0)
    return Decision.of([Verdict("input rail", Direction.INPUT, outcome)], {"input_harm": 0.7})


async def test_nothing_is_released_or_judged_before_the_input_check_has_passed() -> None:
    gate_opened = asyncio.Event()

    async def check() -> Decision:
        await gate_opened.wait()
        return ALLOWED

    judge, source = Judge(), Source(["abc " * 20])
    stream = GuardedStream(source, judge, streaming("bounded", unreviewed_chars=30), check())
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.02)
    assert not first.done()
    assert judge.calls == []
    assert source.read == 1, "generation runs while the input check is open"
    gate_opened.set()
    assert isinstance(await first, Released)
    await stream.aclose()


@pytest.mark.parametrize("outcome", [Outcome.BLOCK, Outcome.FAILED])
async def test_an_input_check_that_does_not_pass_stops_generation(outcome: Outcome) -> None:
    source = Source(["text"] * 1_000, waits=[1])
    text, last, _ = await collect(GuardedStream(source, Judge(), streaming("strict"), slow_input(outcome)))
    assert text == ""
    assert isinstance(last, Blocked)
    assert (last.direction, last.decision.outcome) == (Direction.INPUT, outcome)
    assert last.decision.scores == {"input_harm": 0.7}
    assert source.read < 1_000
    assert source.closed == 1


async def test_an_input_check_that_raises_counts_as_failed() -> None:
    async def check() -> Decision:
        raise ValueError("the prompt was: ...")

    text, last, _ = await collect(GuardedStream(Source(["text"]), Judge(), streaming("strict"), check()))
    assert text == ""
    assert isinstance(last, Blocked)
    assert last.decision.outcome is Outcome.FAILED
    assert "the prompt was" not in last.decision.verdicts[0].reason


async def test_an_error_of_the_source_reaches_the_caller_after_only_passed_text() -> None:
    source = Source(["abcdefgh"] * 5, waits=[3], error=ConnectionError("engine died"))
    released = ""
    with pytest.raises(ConnectionError):
        async for event in GuardedStream(source, Judge(), streaming("strict")):
            assert isinstance(event, Released)
            released += event.text
    assert ("abcdefgh" * 5).startswith(released)
    assert len(released) <= 40 - len(VIOLATION)
    assert source.closed == 1


async def test_closing_before_the_first_event_closes_the_source_and_the_input_check() -> None:
    source, check = Source(["text"]), asyncio.ensure_future(slow_input(Outcome.ALLOW, 1_000))
    stream = GuardedStream(source, Judge(), streaming("strict"), check)
    await stream.aclose()
    await stream.aclose()
    assert source.closed == 1
    assert check.cancelled()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_short_text_does_not_wait_for_a_full_window() -> None:
    async def slow_model() -> AsyncIterator[str]:
        yield "A beginning that is longer than what is held back, "
        await asyncio.sleep(30)
        yield "and an end."

    mode = streaming("strict", window_chars=5_000, max_wait_ms=20)
    stream = GuardedStream(slow_model(), Judge(), mode)
    async with asyncio.timeout(5):
        event = await anext(stream)
    assert isinstance(event, Released)
    await stream.aclose()


async def test_the_final_decision_carries_the_highest_score_of_all_windows() -> None:
    async def judge(text: str, partial: bool) -> Decision:
        score = 0.4 if partial else 0.2
        return Decision.of([Verdict("r", Direction.OUTPUT, Outcome.ALLOW, score=score)], {"toxicity": score})

    source = Source(["some words "] * 10, waits=[3])
    _, last, _ = await collect(GuardedStream(source, judge, streaming("strict")))
    assert isinstance(last, Finished)
    assert last.decision.scores == {"toxicity": 0.4}
    assert [v.score for v in last.decision.verdicts] == [0.4]


async def test_an_empty_answer_finishes_without_a_check() -> None:
    judge = Judge()
    text, last, _ = await collect(GuardedStream(Source(["", ""]), judge, streaming("strict")))
    assert (text, judge.calls) == ("", [])
    assert isinstance(last, Finished)
