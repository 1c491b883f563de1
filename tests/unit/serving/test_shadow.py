"""A shadow answers unseen: it never delays, fails or changes the answer of the champion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.routing.conftest import House, build

from ratchet_adapters.flags import Exchange, Message
from ratchet_adapters.registry import RolloutPlan, RolloutStep, Routing
from ratchet_server.engine.engine import Chunk, EngineRequest, Sampling
from ratchet_server.engine.errors import EngineUnavailable
from ratchet_server.observability.metrics import Metrics
from ratchet_server.rails.gate import Finished as GateFinished
from ratchet_server.rails.gate import Released as GateReleased
from ratchet_server.rails.profiles import RailProfiles
from ratchet_server.rails.verdict import ALLOWED, Decision
from ratchet_server.rpc.errors import status_name
from ratchet_server.serving.exchange import BATCH, EVALUATION, Finished, Request
from ratchet_server.serving.path import RequestPath
from ratchet_server.serving.shadow import Shadow
from ratchet_server.traffic.arms import ArmCounter


class OpenProfile:
    """A profile without rails."""

    name, version = "default", "1"

    rewrites_input = False

    async def admit(self, messages: Any) -> tuple[Decision, Any]:
        return ALLOWED, messages

    async def check_output(self, messages: object, text: str) -> Decision:
        return ALLOWED

    async def guard_stream(
        self, messages: object, deltas: AsyncIterator[str], *, input_check: Any
    ) -> AsyncIterator[Any]:
        await input_check
        async for text in deltas:
            yield GateReleased(text)
        yield GateFinished(ALLOWED)


@dataclass
class Status:
    """What the engine says of its queue."""

    waiting: int = 0


@dataclass
class Speaker:
    """An engine: who answers is what it says. Some adapters refuse, fail or never end."""

    refuses: str = "-"
    fails: str = "-"
    hangs: str = "-"
    dead: bool = False
    asked: list[EngineRequest] = field(default_factory=list)
    queue: Status = field(default_factory=Status)

    def status(self) -> Status:
        return self.queue

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        self.asked.append(request)
        if self.dead:
            raise EngineUnavailable("it died")
        if request.digest == self.fails:
            raise RuntimeError("the candidate breaks")
        if request.digest == self.hangs:
            await asyncio.Event().wait()
        yield Chunk("I cannot" if request.digest == self.refuses else f"from {request.digest}", 3, "stop", 5)


class Scores:
    """Scores by what the texts say."""

    refusal_threshold = 0.5

    async def complete(self, prompt: str, answer: str, seen: Any) -> dict[str, float]:
        return {"input_harm": 0.0, "refusal": float(answer == "I cannot"), "toxicity": 0.0}


class Kept:
    """What was captured."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []

    def record(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


class Live:
    """A request path in the middle of a rollout, around an engine that only speaks."""

    def __init__(self, house: House, engine: Speaker) -> None:
        self.house, self.engine, self.kept = house, engine, Kept()
        self.arms = ArmCounter(house.registry)
        profiles: Any = RailProfiles({"default": OpenProfile()})  # type: ignore[dict-item]
        anything: Any = engine
        scores: Any = Scores()
        kept: Any = self.kept
        self.samples = CollectorRegistry()
        metrics = Metrics(self.samples)
        self.shadow = Shadow(anything, house.swaps, scores, self.arms, metrics.rollouts)
        self.path = RequestPath(
            anything, house.router, house.swaps, profiles, scores, kept, metrics, status_name,
            arms=self.arms, shadow=self.shadow,
        )  # fmt: skip

    async def ask(self, number: int, *, adapter: str = "", priority: int = BATCH) -> Finished:
        request = Request(f"r{number}", (Message("user", f"prompt {number}"),), Sampling(), adapter, priority=priority)
        return [item async for item in self.path.run(request)][-1]  # type: ignore[return-value]

    def reported(self, name: str) -> dict[str, float]:
        """A counter of rollouts, by its label."""
        family = next(f for f in self.samples.collect() if f.name == f"ratchet_rollout_{name}")
        return {next(iter(s.labels.values())): s.value for s in family.samples if s.name.endswith("_total")}

    def counts(self) -> dict[tuple[str, str], tuple[int, int]]:
        self.arms.write()
        rollout = self.house.registry.rollout()
        assert rollout is not None
        return {(c.arm, c.metric): (c.trials, c.events) for c in self.house.registry.arm_counts(rollout.id)}


@pytest.fixture
def house(tmp_path: Path) -> House:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return build(tmp_path, scratch)


async def begin(house: House, kind: str, share_bp: int = 9999) -> str:
    digest = house.add("candidate")
    house.report(digest)
    step = RolloutStep(kind=kind, share_bp=share_bp)  # type: ignore[arg-type]
    await house.swaps.begin(digest, RolloutPlan(steps=(step,)), actor="t", reason="")
    return digest


async def settled(live: Live, answers: int) -> None:
    async with asyncio.timeout(10):
        while live.shadow.answered + live.shadow.failed < answers:
            await asyncio.sleep(0.005)


async def test_the_champion_answers_and_the_shadow_is_compared_with_it(house: House) -> None:
    digest = await begin(house, "shadow")
    live = Live(house, Speaker(refuses=digest))
    worker = asyncio.create_task(live.shadow.run())
    done = [await live.ask(n) for n in range(10)]
    assert {(d.adapter_digest, d.adapter_alias) for d in done} == {("", "champion")}
    await settled(live, 10)
    found = live.counts()
    assert [found[arm, "refusal"] for arm in ("control", "candidate", "pair")] == [(10, 0), (10, 10), (10, 10)]
    assert live.reported("answers") == {"control": 10, "candidate": 10}
    assert live.reported("shadow_answers") == {"answered": 10, "left_out": 0, "failed": 0}
    # Nobody saw the shadow's answers, and they went last.
    assert {exchange.adapter_digest for exchange in live.kept.exchanges} == {""}
    assert {r.priority for r in live.engine.asked if r.digest == digest} == {EVALUATION}
    worker.cancel()


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_a_shadow_in_trouble_harms_nobody_and_is_not_counted(house: House, trouble: str) -> None:
    digest = await begin(house, "shadow")
    live = Live(house, Speaker(**{trouble: digest}))
    worker = asyncio.create_task(live.shadow.run())
    async with asyncio.timeout(5):
        done = [await live.ask(n) for n in range(50)]
    assert {d.finish_reason for d in done} == {"stop"}
    assert ("candidate", "refusal") not in live.counts()
    # Its queue is bounded: what it cannot take is left out.
    assert len(live.shadow._waiting) <= 32
    assert trouble == "fails" or live.shadow.left_out >= 50 - 33
    if trouble == "fails":
        await settled(live, 1)
    kept = live.reported("shadow_answers")
    assert (kept["left_out"], kept["failed"]) == (live.shadow.left_out, live.shadow.failed)
    assert kept["failed"] > 0 or trouble == "hangs"
    # An unseen answer that was not made is no failed request.
    assert live.reported("failures") == {"control": 0, "candidate": 0}
    worker.cancel()


async def test_a_shadow_waits_while_requests_wait(house: House) -> None:
    digest = await begin(house, "shadow")
    live = Live(house, Speaker(queue=Status(waiting=1)))
    worker = asyncio.create_task(live.shadow.run())
    await live.ask(1)
    await asyncio.sleep(0.12)
    assert not [r for r in live.engine.asked if r.digest == digest]
    live.engine.queue.waiting = 0
    await settled(live, 1)
    worker.cancel()


async def test_every_answer_of_a_canary_names_who_gave_it_and_counts_for_it(house: House) -> None:
    digest = await begin(house, "canary", 5000)
    live = Live(house, Speaker(refuses=digest))
    done = [await live.ask(n) for n in range(60)]
    by_canary = [d for d in done if d.adapter_alias == "canary"]
    assert {d.adapter_digest for d in by_canary} == {digest}
    assert {d.adapter_digest for d in done if d.adapter_alias == "champion"} == {""}
    served = {(e.request_id, e.adapter_digest, e.completion) for e in live.kept.exchanges}
    assert {c for _, a, c in served if a == digest} == {"I cannot"}
    assert {c for _, a, c in served if a == ""} == {"from "}
    found = live.counts()
    assert found["candidate", "refusal"] == (len(by_canary), len(by_canary))
    assert found["control", "refusal"] == (60 - len(by_canary), 0)
    assert live.reported("answers") == {"control": 60 - len(by_canary), "candidate": len(by_canary)}
    # What is asked for by name, or evaluated, is no traffic.
    await live.ask(1, adapter=digest)
    evaluated = await live.ask(2, priority=EVALUATION)
    assert (evaluated.adapter_digest, live.counts()) == ("", found)


async def test_requests_that_an_arm_fails_count_against_it_and_those_of_a_dead_engine_against_nobody(
    house: House,
) -> None:
    digest = await begin(house, "canary", 5000)
    live = Live(house, Speaker(fails=digest))
    broken = 0
    for n in range(40):
        try:
            await live.ask(n)
        except RuntimeError:
            broken += 1
    assert broken > 5
    found = live.counts()
    assert found["candidate", "failed"] == (broken, broken)
    assert found["control", "failed"] == (40 - broken, 0)
    assert ("candidate", "slow") not in found
    assert live.reported("failures") == {"control": 0, "candidate": broken}
    live.engine.fails, live.engine.dead = "-", True
    for n in range(40):
        with pytest.raises(EngineUnavailable):
            await live.ask(n)
    assert live.counts() == found
    assert live.reported("failures") == {"control": 0, "candidate": broken}


async def test_a_canary_that_cannot_be_served_leaves_its_requests_to_the_champion_uncounted(house: House) -> None:
    first = house.add("first")
    await house.promote(first)
    await begin(house, "canary")
    live = Live(house, Speaker())
    now = house.router.routing
    gone = "sha256:" + "0" * 64
    house.router.apply(
        Routing(now.version + 1, first, "", datetime.now(UTC), "canary", gone, 9999, "conversation", now.rollout_id, 0)
    )
    done = await live.ask(1)
    assert (done.adapter_digest, done.adapter_alias) == (first, "champion")
    assert ("control", "blocked") not in live.counts()
