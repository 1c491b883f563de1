"""How the request path counts what ends a request: once, and an error under the name of its gRPC status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.routing.conftest import build

from ratchet_adapters.flags import Message
from ratchet_server.engine.engine import Chunk, EngineRequest, Sampling
from ratchet_server.engine.errors import EngineUnavailable, PromptTooLong
from ratchet_server.observability.metrics import Metrics
from ratchet_server.rails.gate import Finished as GateFinished
from ratchet_server.rails.gate import Released as GateReleased
from ratchet_server.rails.profiles import RailProfiles
from ratchet_server.rails.verdict import ALLOWED, Decision
from ratchet_server.rpc.errors import status_name
from ratchet_server.serving.exchange import EVALUATION, INTERACTIVE, Finished, Released, Request
from ratchet_server.serving.path import RequestPath
from ratchet_server.serving.settings import EvaluationLimits
from ratchet_server.serving.turns import EvaluationTurns


class OpenProfile:
    """A profile without rails."""

    name, version = "default", "1"

    rewrites_input = False

    async def admit(self, messages: Any) -> tuple[Decision, Any]:
        return ALLOWED, messages

    async def guard_stream(
        self, messages: object, deltas: AsyncIterator[str], *, input_check: Any
    ) -> AsyncIterator[Any]:
        await input_check
        async for text in deltas:
            yield GateReleased(text)
        yield GateFinished(ALLOWED)


class Words:
    """An engine that says three words, or fails after the first."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        for word in ("one ", "two ", "three"):
            yield Chunk(word, 1, "length" if word == "three" else None, 5)
            if self.error is not None:
                raise self.error


class Counted:
    """A request path and what it has counted."""

    def __init__(self, folder: Path, error: Exception | None = None) -> None:
        self._samples = CollectorRegistry()
        house = build(folder, folder)
        profiles: Any = RailProfiles({"default": OpenProfile()})  # type: ignore[dict-item]
        # Evaluation requests are neither scored nor captured, so these two are not asked.
        scores: Any = None
        capture: Any = None
        engine: Any = Words(error)
        self.path = RequestPath(
            engine, house.router, house.swaps, profiles, scores, capture, Metrics(self._samples), status_name
        )

    @property
    def errors(self) -> dict[str, float]:
        """Failed requests by the label `code`."""
        family = next(f for f in self._samples.collect() if f.name == "ratchet_request_errors")
        return {s.labels["code"]: s.value for s in family.samples if s.name.endswith("_total")}

    @property
    def ended(self) -> dict[str, float]:
        """Ended requests by finish reason."""
        family = next(f for f in self._samples.collect() if f.name == "ratchet_requests")
        return {s.labels["finish_reason"]: s.value for s in family.samples if s.name.endswith("_total")}

    def in_flight(self) -> float | None:
        labels = {"adapter": "base", "profile": "default"}
        return self._samples.get_sample_value("ratchet_requests_in_flight", labels)


def _request(adapter: str = "", profile: str = "") -> Request:
    return Request("r", (Message("user", "count"),), Sampling(), adapter, profile=profile, priority=EVALUATION)


async def test_an_answer_that_is_read_to_its_end_is_no_error(tmp_path: Path) -> None:
    counted = Counted(tmp_path)
    items = [item async for item in counted.path.run(_request())]
    assert [item.text for item in items if isinstance(item, Released)] == ["one ", "two ", "three"]
    assert (counted.ended, counted.errors, counted.in_flight()) == ({"length": 1}, {}, 0)


async def test_a_caller_that_leaves_after_the_end_has_its_answer_counted_once(tmp_path: Path) -> None:
    counted = Counted(tmp_path)
    other = counted.path.run(_request())
    await anext(other)
    async with aclosing(counted.path.run(_request())) as items:
        async for item in items:
            if isinstance(item, Finished):
                break
    assert (counted.ended, counted.errors, counted.in_flight()) == ({"length": 1}, {}, 1)
    await other.aclose()


async def test_a_caller_that_leaves_before_the_end_cancelled(tmp_path: Path) -> None:
    counted = Counted(tmp_path)
    items = counted.path.run(_request())
    await anext(items)
    await items.aclose()
    assert (counted.ended, counted.errors, counted.in_flight()) == ({"error": 1}, {"CANCELLED": 1}, 0)


@pytest.mark.parametrize(
    ("request_", "code"),
    [(_request(adapter="0123456789ab"), "NOT_FOUND"), (_request(profile="no such"), "NOT_FOUND")],
)
async def test_what_is_turned_away_counts_under_its_status(tmp_path: Path, request_: Request, code: str) -> None:
    counted = Counted(tmp_path)
    with pytest.raises(Exception, match=r".") as caught:
        await anext(counted.path.run(request_))
    assert counted.errors == {code: 1}
    assert status_name(caught.value) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EngineUnavailable("it is restarting"), "UNAVAILABLE"),
        (PromptTooLong(900, 800), "INVALID_ARGUMENT"),
        (TimeoutError(), "DEADLINE_EXCEEDED"),
        (KeyError("a defect"), "INTERNAL"),
        (asyncio.CancelledError(), "CANCELLED"),
    ],
)
async def test_what_fails_on_its_way_counts_under_its_status(tmp_path: Path, error: Any, code: str) -> None:
    counted = Counted(tmp_path, error)
    with pytest.raises(type(error)):
        [item async for item in counted.path.run(_request())]
    assert (counted.ended, counted.errors, counted.in_flight()) == ({"error": 1}, {code: 1}, 0)


class Slow(Words):
    """An engine that waits for its word before the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()
        self.inside: list[str] = []

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        self.inside.append(request.request_id)
        try:
            yield Chunk("one ", 1, None, 5)
            await self.go.wait()
            yield Chunk("two", 1, "stop", 5)
        finally:
            self.inside.remove(request.request_id)


async def test_a_request_makes_an_evaluation_leave_the_engine_for_as_long_as_it_is_served(tmp_path: Path) -> None:
    house, engine, scores = build(tmp_path, tmp_path), Slow(), Quiet()
    profiles: Any = RailProfiles({"default": OpenProfile()})  # type: ignore[dict-item]
    anything: Any = engine
    turns = EvaluationTurns(EvaluationLimits(at_once=3, beside_traffic=1, quiet_seconds=0))
    samples = CollectorRegistry()
    path = RequestPath(
        anything, house.router, house.swaps, profiles, scores, scores, Metrics(samples), status_name, turns=turns
    )  # type: ignore[arg-type]

    async def ask(name: str, priority: int) -> str:
        request = Request(name, (Message("user", "count"),), Sampling(), priority=priority)
        return "".join([item.text async for item in path.run(request) if isinstance(item, Released)])

    async with asyncio.timeout(10):
        evaluation = [asyncio.create_task(ask(f"e{n}", EVALUATION)) for n in range(3)]
        while len(engine.inside) < 3:
            await asyncio.sleep(0)
        served = asyncio.create_task(ask("r", INTERACTIVE))
        while set(engine.inside) != {"e0", "r"}:
            await asyncio.sleep(0)
        engine.go.set()
        assert await served == "one two"
        assert await asyncio.gather(*evaluation) == ["one two"] * 3
    first = {"adapter": "base", "profile": "default"}
    assert samples.get_sample_value("ratchet_time_to_first_token_seconds_count", first) == 1, "evaluations have none"


class Quiet:
    """Scores nothing and keeps nothing."""

    refusal_threshold = 0.5

    async def complete(self, *_: object) -> dict[str, float]:
        return {}

    def record(self, _: object) -> None:
        return
