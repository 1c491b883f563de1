"""Adapters into and out of the slots: ids never reused, one load per digest, no unload under a request."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.engine.conftest import FOLDER, FakeCore, loaded_table, settle, table

from ratchet_server.engine.errors import AdapterLoadFailed, AdapterNotLoaded, AdapterSlotsExhausted


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
    assert slots.loaded() == ["a"] and slots.holds("a") and not slots.holds("b")


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
    assert slots.loaded() == [] and not slots.holds("a")
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
