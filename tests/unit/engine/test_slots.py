"""Leases on adapter slots: a bounded number of adapters in flight, and nobody starves."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.conftest import FOLDER, Clock, FakeCore, loaded_table, settle, table

from ratchet_server.engine.errors import AdapterNotLoaded, AdapterSlotsExhausted, EngineUnavailable


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
