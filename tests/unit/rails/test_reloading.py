"""Profiles loaded anew while the server runs: swapped whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.unit.routing.conftest import build

from ratchet_server.engine.engine import Chunk, EngineRequest, Sampling
from ratchet_server.observability.metrics import Metrics
from ratchet_server.rails.errors import RailConfigError, UnknownProfile
from ratchet_server.rails.gate import Blocked, Released
from ratchet_server.rails.loading import LoadOutcome, ProfileLoad, ProfileLoader
from ratchet_server.rails.message import Message
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.verdict import Outcome
from ratchet_server.rails.watching import watch_profiles
from ratchet_server.rpc.errors import status_name
from ratchet_server.serving.exchange import EVALUATION, Finished, Request
from ratchet_server.serving.path import RequestPath

CHAT = (Message("user", "hello"),)


def forbidding(word: str, mode: str = "buffered") -> str:
    return f"""
rails:
  output: {{flows: [regex check output]}}
  config: {{regex_detection: {{output: {{patterns: ['{word}']}}}}}}
custom_data: {{ratchet: {{streaming: {{mode: {mode}}}}}}}
"""


class House:
    """A folder of profiles, a loader over it, and what it reported."""

    def __init__(self, root: Path, pool: ScorerPool, generate: Any = None, default: str = "bank") -> None:
        self.root = root / "profiles"
        self.loads: list[ProfileLoad] = []
        self.write("bank", forbidding("alpha"))
        self.loader = ProfileLoader(
            self.root, scorers=pool, generate=generate, default=default, on_load=self.loads.append
        )

    def write(self, name: str, config: str, cases: str | None = None) -> None:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yml").write_text(config)
        if cases is not None:
            (folder / "cases.yaml").write_text(cases)

    def move_away(self, name: str) -> None:
        (self.root / name).rename(self.root.parent / f"{name}-elsewhere")

    async def only(self, *names: str, **options: Any) -> ProfileLoad:
        (load,) = await self.loader.reload(names, **options)
        return load

    async def blocks(self, text: str, name: str = "bank") -> bool:
        decision = await self.loader.profiles.get(name).check_output(CHAT, text)
        return decision.outcome is Outcome.BLOCK


@pytest.fixture
async def house(tmp_path: Path, pool: ScorerPool) -> House:
    house = House(tmp_path, pool)
    await house.loader.start()
    return house


async def test_a_changed_profile_takes_the_place_of_the_old_one(house: House) -> None:
    old = house.loader.profiles.get("bank")
    assert (await house.only("bank")).outcome is LoadOutcome.UNCHANGED
    assert house.loader.profiles.get("bank") is old
    house.write("bank", forbidding("beta"))
    load = await house.only("bank")
    assert (load.outcome, load.previous, load.problem) == (LoadOutcome.SWAPPED, old.version, "")
    assert load.version == house.loader.profiles.get("bank").version != old.version
    assert (await house.blocks("alpha"), await house.blocks("beta")) == (False, True)
    assert [each.outcome for each in house.loads] == [LoadOutcome.UNCHANGED, LoadOutcome.SWAPPED]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("rails: {outputs: {flows: []}}", "config.yml:1"),
        ("rails: [", "not YAML"),
        (forbidding("(?=alpha)"), "config.yml:4"),
        ("rails: {output: {flows: [self check output]}}", "asks a model"),
    ],
)
async def test_what_cannot_be_served_is_rejected_and_the_old_one_serves_on(
    house: House, config: str, problem: str
) -> None:
    old = house.loader.profiles.get("bank")
    house.write("bank", config)
    load = await house.only("bank")
    assert load.outcome is LoadOutcome.REJECTED
    assert problem in load.problem
    assert load.version == load.previous == old.version
    assert house.loader.profiles.get("bank") is old
    assert await house.blocks("alpha")


async def test_a_profile_whose_own_cases_fail_is_rejected_and_the_case_is_named(house: House) -> None:
    cases = "cases:\n  - {prompt: hi, answer: all fine, expect: allow}\n  - {prompt: hi, answer: beta, expect: block}\n"
    house.write("bank", forbidding("beta"), cases)
    assert (await house.only("bank")).cases == 2
    house.write("bank", forbidding("gamma"), cases)
    load = await house.only("bank")
    assert load.outcome is LoadOutcome.REJECTED
    assert "cases.yaml:3" in load.problem
    assert "expected block, got allow" in load.problem
    assert await house.blocks("beta")


async def test_a_rail_that_cannot_judge_is_found_before_it_serves(house: House, with_rail: Any) -> None:
    async def broken(text: str, **_: Any) -> Any:
        raise RuntimeError("its model is gone")

    with_rail(broken)
    house.write("bank", "rails: {output: {flows: [ratchet toxicity output, test rail]}}")
    load = await house.only("bank")
    assert load.outcome is LoadOutcome.REJECTED
    assert "'test rail' fails on a plain text" in load.problem


async def test_a_profile_that_fails_its_cases_does_not_start_a_server(tmp_path: Path, pool: ScorerPool) -> None:
    house = House(tmp_path, pool)
    house.write("bank", forbidding("alpha"), "cases: [{prompt: hi, answer: beta, expect: block}]")
    with pytest.raises(RailConfigError, match="fails its case"):
        await house.loader.start()


async def test_a_profile_that_asks_a_model_is_tried_when_the_engine_answers(tmp_path: Path, pool: ScorerPool) -> None:
    answers = {"engine": "is not there"}

    async def generate(messages: Any, **_: Any) -> str:
        if answers["engine"] != "answers":
            raise ConnectionError
        return "No"

    house = House(tmp_path, pool, generate)
    house.write(
        "asking",
        "models: [{type: main, engine: ratchet, model: guard}]\nrails: {input: {flows: [self check input]}}\n"
        "prompts: [{task: self_check_input, content: '{{ user_input }}'}]\n",
    )
    await house.loader.start()
    with pytest.raises(RailConfigError, match="self check input"):
        await house.loader.try_with_engine()
    answers["engine"] = "answers"
    await house.loader.try_with_engine()


async def test_new_profiles_join_and_only_an_order_makes_one_go(house: House) -> None:
    house.write("clinic", forbidding("gamma"))
    assert (await house.only("clinic")).previous == ""
    assert await house.blocks("gamma", "clinic")
    house.move_away("clinic")
    load = await house.only("clinic")
    assert (load.outcome, "gone" in load.problem) == (LoadOutcome.REJECTED, True)
    assert await house.blocks("gamma", "clinic")
    assert (await house.only("clinic", drop_missing=True)).outcome is LoadOutcome.REMOVED
    with pytest.raises(UnknownProfile):
        house.loader.profiles.get("clinic")
    house.move_away("bank")
    default = await house.only("bank", drop_missing=True)
    assert (default.outcome, "default" in default.problem) == (LoadOutcome.REJECTED, True)
    with pytest.raises(UnknownProfile, match="nobody"):
        await house.loader.reload(["nobody"])


async def test_a_shipped_profile_does_not_slip_into_the_place_of_one_that_went_away(house: House) -> None:
    house.write("streaming", forbidding("gamma"))
    await house.only("streaming")
    house.move_away("streaming")
    assert (await house.only("streaming")).outcome is LoadOutcome.REJECTED
    assert await house.blocks("gamma", "streaming")
    assert (await house.only("streaming", drop_missing=True)).outcome is LoadOutcome.SWAPPED
    assert "ratchet toxicity output" in house.loader.profiles.get("streaming").output_rails


async def test_a_stream_is_judged_to_its_end_by_the_profile_it_began_with(house: House) -> None:
    house.write("bank", forbidding("alpha", "strict"))
    await house.only("bank")
    go_on = asyncio.Event()

    async def deltas() -> AsyncIterator[str]:
        yield "words " * 60
        await go_on.wait()
        yield "alpha"

    profiles = house.loader.profiles
    old = profiles.get("bank")
    with profiles.holding(old):
        stream = old.guard_stream(CHAT, deltas())
        assert isinstance(await anext(stream), Released)
        house.write("bank", forbidding("beta", "strict"))
        assert (await house.only("bank")).outcome is LoadOutcome.SWAPPED
        state = {each.profile.name: (each.in_flight, each.draining) for each in profiles.offered()}
        assert state["bank"] == (0, 1)
        go_on.set()
        *_, last = [event async for event in stream]
        assert isinstance(last, Blocked)
    assert all(each.draining == 0 for each in profiles.offered())


class Says:
    """An engine that says a text in a few chunks, giving way between them."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        for position in range(0, len(self.text), 3):
            await asyncio.sleep(0)
            yield Chunk(self.text[position : position + 3], 1, None, 5)
        yield Chunk("", 0, "stop", 5)


async def test_a_hundred_reloads_under_load_fail_no_request_and_mix_no_rules(house: House, tmp_path: Path) -> None:
    (tmp_path / "routing").mkdir()
    routing = build(tmp_path / "routing", tmp_path / "routing")
    nothing: Any = None
    engine: Any = Says("say alpha")
    metrics = Metrics(CollectorRegistry())
    path = RequestPath(
        engine, routing.router, routing.swaps, house.loader.profiles, nothing, nothing, metrics, status_name
    )
    alpha = house.loader.profiles.get("bank").version
    stop = asyncio.Event()
    answered: list[tuple[str, str, str]] = []

    async def client() -> None:
        while not stop.is_set():
            request = Request("r", CHAT, Sampling(), "", profile="bank", priority=EVALUATION)
            text = ""
            async for item in path.run(request):
                if isinstance(item, Finished):
                    answered.append((item.policy_version, item.finish_reason, text))
                else:
                    text += item.text

    clients = [asyncio.create_task(client()) for _ in range(16)]
    outcomes = []
    for number in range(100):
        broken = number % 10 == 9
        word = "alpha" if number % 2 else "beta"
        house.write("bank", "rails: {nonsense: 1}" if broken else forbidding(word))
        outcomes.append((await house.only("bank")).outcome)
    stop.set()
    await asyncio.gather(*clients)  # a failed request would raise here
    assert outcomes.count(LoadOutcome.REJECTED) == 10
    assert outcomes.count(LoadOutcome.SWAPPED) >= 80
    seen = {version for version, _, _ in answered}
    assert len(seen) == 2
    for version, finish, text in answered:
        assert (finish, text) == (("blocked_output", "") if version == alpha else ("stop", "say alpha"))
    assert len(answered) > 200


async def test_files_that_change_are_loaded_and_broken_ones_are_not(house: House) -> None:
    watching = asyncio.create_task(watch_profiles(house.loader, house.root, settle_ms=50))
    try:
        await _until(lambda: house.loads)  # the first look, after which events count
        house.write("bank", "rails: {nonsense: 1}")
        await _until(lambda: any(load.outcome is LoadOutcome.REJECTED for load in house.loads))
        assert await house.blocks("alpha")
        house.write("bank", forbidding("beta"))
        await _until(lambda: any(load.outcome is LoadOutcome.SWAPPED for load in house.loads))
        assert await house.blocks("beta")
        house.write("clinic", forbidding("gamma"))
        await _until(lambda: "clinic" in house.loader.profiles.names)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)
