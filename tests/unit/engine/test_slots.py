"""Adapter slots: ids never reused, one load per digest, a bounded number in flight, nobody starves."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet_server.engine.errors import (
    AdapterLoadFailed,
    AdapterNotLoaded,
    AdapterSlotsExhausted,
    EngineUnavailable,
)
from ratchet_server.engine.slots import AdapterSlots

FOLDER = Path("/adapter")


class FakeCore:
    """Holds adapters in memory and notes what it was asked."""

    def __init__(self) -> None:
        self.held: dict[int, str] = {}
        self.added: list[int] = []
        self.refuse: set[str] = set()
        self.gate: asyncio.Event | None = None

    async def add(self, digest: str, adapter_id: int, folder: Path) -> None:
        self.added.append(adapter_id)
        await (self.gate.wait() if self.gate else asyncio.sleep(0))
        if digest in self.refuse:
            raise AdapterLoadFailed(digest, "refused")
        self.held[adapter_id] = digest

    async def remove(self, adapter_id: int) -> None:
        await asyncio.sleep(0)
        del self.held[adapter_id]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def table(core, **options):
    return AdapterSlots(core, **({"max_in_flight": 2, "max_loaded": 4, "patience": 1.0} | options))


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def loaded_table(*digests, **options):
    core = FakeCore()
    slots = table(core, **options)
    for digest in digests:
        await slots.load(digest, FOLDER)
    return core, slots


async def test_an_adapter_that_is_not_loaded_is_refused():
    _, slots = await loaded_table()
    with pytest.raises(AdapterNotLoaded):
        await slots.acquire("a")


async def test_a_digest_gets_a_fresh_id_each_time_it_is_loaded():
    core, slots = await loaded_table("a")
    await slots.unload("a")
    await slots.load("a", FOLDER)
    assert core.added == [1, 2]
    assert core.held == {2: "a"}


async def test_concurrent_loads_of_one_digest_are_one_load():
    core = FakeCore()
    slots = table(core)
    await asyncio.gather(*(slots.load("a", FOLDER) for _ in range(5)))
    assert core.added == [1]


async def test_a_failed_load_leaves_nothing_and_can_be_repeated():
    core, slots = await loaded_table()
    core.refuse = {"a"}
    with pytest.raises(AdapterLoadFailed):
        await slots.load("a", FOLDER)
    assert slots.loaded() == []
    core.refuse = set()
    await slots.load("a", FOLDER)
    assert core.held == {2: "a"}


async def test_a_caller_that_gives_up_does_not_undo_the_load_for_the_others():
    core = FakeCore()
    core.gate = asyncio.Event()
    slots = table(core)
    first, second = (asyncio.create_task(slots.load("a", FOLDER)) for _ in range(2))
    await settle()
    first.cancel()
    core.gate.set()
    await second
    assert slots.loaded() == ["a"]


async def test_more_adapters_than_the_engine_holds_are_refused():
    _, slots = await loaded_table("a", "b", "c", "d")
    with pytest.raises(AdapterSlotsExhausted):
        await slots.load("e", FOLDER)
    await slots.load("a", FOLDER)


async def test_unload_waits_for_the_last_lease_and_refuses_new_ones_meanwhile():
    core, slots = await loaded_table("a")
    lease = await slots.acquire("a")
    unloading = asyncio.create_task(slots.unload("a"))
    await settle()
    assert core.held and not unloading.done()
    assert slots.loaded() == []
    with pytest.raises(AdapterNotLoaded):
        await slots.acquire("a")
    lease.release()
    await unloading
    assert core.held == {}


async def test_unload_serves_requests_that_already_wait_for_a_slot():
    core, slots = await loaded_table("a", "b", max_in_flight=1)
    lease = await slots.acquire("a")
    waiting = asyncio.create_task(slots.acquire("b"))
    await settle()
    unloading = asyncio.create_task(slots.unload("b"))
    await settle()
    lease.release()
    (await waiting).release()
    await unloading
    assert core.held == {1: "a"}


async def test_a_cancelled_unload_leaves_the_adapter_loaded():
    core, slots = await loaded_table("a")
    lease = await slots.acquire("a")
    unloading = asyncio.create_task(slots.unload("a"))
    await settle()
    reloading = asyncio.create_task(slots.load("a", FOLDER))
    await settle()
    unloading.cancel()
    await reloading
    lease.release()
    (await slots.acquire("a")).release()
    assert core.added == [1]


async def test_a_load_during_an_unload_waits_and_takes_a_new_id():
    core, slots = await loaded_table("a")
    lease = await slots.acquire("a")
    unloading = asyncio.create_task(slots.unload("a"))
    loading = asyncio.create_task(slots.load("a", FOLDER))
    await settle()
    assert not loading.done()
    lease.release()
    await asyncio.gather(unloading, loading)
    assert core.held == {2: "a"}


async def test_no_more_distinct_adapters_are_in_flight_than_allowed():
    _, slots = await loaded_table("a", "b", "c")
    first, second = await slots.acquire("a"), await slots.acquire("b")
    third = asyncio.create_task(slots.acquire("c"))
    await settle()
    assert not third.done() and slots.waiting == 1
    again = await slots.acquire("a")
    first.release()
    again.release()
    (await third).release()
    second.release()
    assert slots.in_flight() == {}


async def test_steady_traffic_on_two_adapters_does_not_starve_a_third():
    clock = Clock()
    _, slots = await loaded_table("a", "b", "c", clock=clock)
    leases = [await slots.acquire("a"), await slots.acquire("b")]
    third = asyncio.create_task(slots.acquire("c"))
    await settle()
    leases.append(await slots.acquire("a"))
    clock.now = 2.0
    newer = asyncio.create_task(slots.acquire("a"))
    await settle()
    assert not newer.done(), "after its patience is over, newer requests queue behind the third"
    leases[0].release()
    leases[2].release()
    await settle()
    assert third.done() and not newer.done()
    leases[1].release()
    (await third).release()
    (await newer).release()


async def test_interactive_requests_pass_evaluation_but_only_for_a_while():
    clock = Clock()
    _, slots = await loaded_table("a", "b", max_in_flight=1, clock=clock)
    lease = await slots.acquire("a")
    evaluation = asyncio.create_task(slots.acquire("b", 10))
    clock.now = 5.0
    await settle()
    interactive = await asyncio.wait_for(slots.acquire("a"), 1)
    clock.now = 20.0
    late = asyncio.create_task(slots.acquire("a"))
    await settle()
    assert not late.done()
    lease.release()
    interactive.release()
    (await evaluation).release()
    (await late).release()


async def test_releasing_twice_counts_once():
    _, slots = await loaded_table("a")
    first, second = await slots.acquire("a"), await slots.acquire("a")
    first.release()
    first.release()
    assert slots.in_flight() == {"a": 1}
    second.release()


async def test_a_waiter_that_gives_up_leaves_no_trace():
    _, slots = await loaded_table("a", "b", max_in_flight=1)
    lease = await slots.acquire("a")
    waiting = asyncio.create_task(slots.acquire("b"))
    await settle()
    waiting.cancel()
    await settle()
    lease.release()
    assert slots.waiting == 0 and slots.in_flight() == {}
    await slots.unload("b")


async def test_when_the_core_is_lost_waiters_fail_and_the_table_is_empty():
    core, slots = await loaded_table("a", "b", max_in_flight=1)
    lease = await slots.acquire("a")
    waiting = asyncio.create_task(slots.acquire("b"))
    await settle()
    assert slots.lose(EngineUnavailable("died")) == {"a": FOLDER, "b": FOLDER}
    with pytest.raises(EngineUnavailable):
        await waiting
    lease.release()
    core.held.clear()
    await slots.load("a", FOLDER)
    assert core.held == {3: "a"}
    (await slots.acquire("a")).release()


@given(seed=st.integers(0, 10**6), in_flight=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_whatever_the_traffic_the_rules_hold_and_everybody_is_served(seed, in_flight):
    asyncio.run(_storm(random.Random(seed), in_flight))


async def _storm(dice, in_flight):
    core = FakeCore()
    slots = table(core, max_in_flight=in_flight, max_loaded=4, patience=0.0)
    digests = ["a", "b", "c", "d", "e"]
    served = []

    async def request():
        await asyncio.sleep(dice.randint(0, 5) / 1e4)
        digest = dice.choice(digests)
        try:
            lease = await slots.acquire(digest, dice.choice([0, 10]))
        except AdapterNotLoaded:
            return
        try:
            for _ in range(dice.randint(0, 5)):
                assert core.held[lease.adapter_id] == digest, "its adapter is there until the lease ends"
                assert len(slots.in_flight()) <= in_flight
                await asyncio.sleep(0)
            served.append(digest)
        finally:
            lease.release()

    async def operator():
        for _ in range(6):
            digest = dice.choice(digests)
            try:
                if dice.random() < 0.6:
                    await slots.load(digest, FOLDER)
                else:
                    await slots.unload(digest)
            except (AdapterNotLoaded, AdapterSlotsExhausted):
                pass
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(request()) for _ in range(30)] + [asyncio.create_task(operator()) for _ in range(3)]
    for task in tasks:
        if dice.random() < 0.15:
            asyncio.get_running_loop().call_later(dice.random() / 1e3, task.cancel)
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    failures = [r for r in results if isinstance(r, Exception) and not isinstance(r, asyncio.CancelledError)]
    assert not failures, failures
    assert slots.in_flight() == {} and slots.waiting == 0
    await settle()
    assert sorted(core.held.values()) == sorted(slots.loaded())
    assert len(core.added) == len(set(core.added))
