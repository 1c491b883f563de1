"""The way into a fold and out of it, over real slots and a core in memory: who is served from where, and what stays."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.engine.conftest import FOLDER, FakeCore, settle, table

from ratchet_server.engine.errors import (
    AdapterFingerprintMismatch,
    AdapterNotFolded,
    AdapterNotLoaded,
    EngineUnavailable,
)
from ratchet_server.engine.folding import Folding


class FoldingCore(FakeCore):
    """Also answers what folding asks of the workers."""

    def __init__(self):
        super().__init__()
        self.folds, self.refusal, self.building = [], "", None

    async def ask(self, name, *arguments):
        what = name.removeprefix("ratchet_fold_")
        if what == "begin":
            return [self.refusal]
        if what == "progress":
            if self.building is not None:
                await self.building.wait()
            return [{"done": True, "problem": "", "modules": 4, "seconds": 0.1}]
        if what == "check":
            return [{"left": 0, "problem": ""}]
        if what == "install":
            self.folds += arguments
            return [""]
        if what == "drop":
            self.folds.remove(*arguments)
        return [None]


class House:
    """Slots, a core, and the fold over them."""

    def __init__(self):
        self.core = FoldingCore()
        self.slots = table(self.core, max_in_flight=3)
        self.proof_error = None
        self.proven = []
        self.folding = Folding(self.slots, lambda: self.core, self.prove)

    async def prove(self, digest, key):
        self.proven.append((digest, key))
        assert self.folding.digest == "", "nobody is served from a fold that is not proven"
        if self.proof_error is not None:
            raise self.proof_error

    async def lease(self, digest):
        return await self.slots.acquire(self.folding.name(digest))


@pytest.fixture
async def house():
    """Two adapters loaded, nothing folded."""
    made = House()
    for digest in ("a", "b"):
        await made.slots.load(digest, FOLDER)
    return made


async def test_new_requests_take_the_fold_and_those_in_flight_stay_where_they_began(house):
    before = await house.lease("a")
    report = await house.folding.fold("a")
    after = await house.lease("a")
    assert (report.digest, report.modules, house.folding.digest) == ("a", 4, "a")
    assert before.adapter_id != after.adapter_id and house.core.folds == [after.adapter_id]
    assert house.proven == [("a", after.digest)]
    assert after.digest != before.digest, "vLLM's prefix cache goes by this name"
    assert (await house.lease("b")).digest == "b"


async def test_going_back_is_effective_at_once_and_frees_the_weights_when_the_last_request_is_done(house):
    await house.folding.fold("a")
    lease = await house.lease("a")
    undoing = asyncio.create_task(house.folding.unfold())
    await settle()
    assert house.folding.digest == "" and house.folding.name("a") == "a"
    assert (await house.lease("a")).digest == "a"
    assert not undoing.done() and house.core.folds == [lease.adapter_id]
    lease.release()
    await undoing
    assert house.core.folds == [] and set(house.core.held.values()) == {"a", "b"}


async def test_another_champion_takes_the_place(house):
    await house.folding.fold("a")
    await house.folding.fold("b")
    assert (house.folding.digest, len(house.core.folds), len(house.core.held)) == ("b", 1, 3)


@pytest.mark.parametrize("proof", [True, False])
async def test_what_is_refused_or_not_proven_is_served_as_before_and_leaves_nothing(house, proof):
    if proof:
        house.proof_error = AdapterFingerprintMismatch("a", 3.0, 0.05)
    else:
        house.core.refusal = "it changes no module"
    with pytest.raises(AdapterNotFolded, match=r"3\.0000 nats|no module"):
        await house.folding.fold("a")
    assert house.folding.name("a") == "a"
    assert house.core.folds == [] and set(house.core.held.values()) == {"a", "b"}


async def test_an_adapter_unloaded_while_its_fold_is_built_is_not_brought_back_by_it(house):
    house.core.building = asyncio.Event()
    task = asyncio.create_task(house.folding.fold("a"))
    await settle()
    await house.slots.unload("a")
    house.core.building.set()
    with pytest.raises(AdapterNotLoaded):
        await task
    assert house.core.folds == [] and set(house.core.held.values()) == {"b"}


async def test_a_caller_that_goes_away_while_it_is_undone_leaves_no_weights_behind(house):
    await house.folding.fold("a")
    lease = await house.lease("a")
    undoing = asyncio.create_task(house.folding.unfold())
    await settle()
    undoing.cancel()
    await asyncio.gather(undoing, return_exceptions=True)
    assert house.core.folds
    lease.release()
    await settle()
    assert house.core.folds == []
    await house.folding.fold("b")
    assert house.folding.digest == "b"


async def test_with_the_core_the_fold_is_gone_and_the_next_core_can_fold_again(house):
    await house.folding.fold("a")
    house.folding.lost()
    house.slots.lose(EngineUnavailable("it died"))
    assert house.folding.name("a") == "a"
    house.core.folds.clear()
    await house.slots.load("a", FOLDER)
    await house.folding.fold("a")
    assert house.folding.digest == "a"
