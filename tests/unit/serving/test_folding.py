"""The champion gets folded, and never at the cost of a swap."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from ratchet_server.engine.errors import AdapterNotFolded
from ratchet_server.engine.folding import FoldReport
from ratchet_server.serving.folding import keep_champion_folded


class Engine:
    """Folds in memory."""

    def __init__(self):
        self.folded, self.tried, self.refuse = "", [], set()

    def holds(self, digest):
        return digest != "absent"

    async def fold(self, digest):
        self.tried.append(digest)
        await asyncio.sleep(0)
        if digest in self.refuse:
            raise AdapterNotFolded(digest, "no")
        self.folded = digest
        return FoldReport(digest, 1, 0.0, 0.0)

    async def unfold(self):
        self.folded = ""


@asynccontextmanager
async def keeping(engine, champions, settle=0.02):
    task = asyncio.create_task(keep_champion_folded(engine, lambda: champions[-1], settle=settle))
    yield
    assert not task.done(), task.exception()
    task.cancel()


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_champion_is_folded_then_its_successor_and_the_base_model_needs_none():
    engine, champions = Engine(), ["a"]
    async with keeping(engine, champions):
        await until(lambda: engine.folded == "a")
        champions.append("b")
        await until(lambda: engine.folded == "b")
        champions.append("")
        await until(lambda: engine.folded == "")
    assert engine.tried == ["a", "b"]


async def test_champions_in_quick_succession_are_not_folded_one_by_one():
    engine, champions = Engine(), ["a"]
    async with keeping(engine, champions, settle=0.15):
        for name in "bcdefgh":
            champions.append(name)
            await asyncio.sleep(0.04)
        await until(lambda: engine.folded == "h")
    assert engine.tried == ["h"]


async def test_a_refusal_ends_nothing_and_is_not_repeated_at_once():
    engine, champions = Engine(), ["bad"]
    engine.refuse = {"bad"}
    async with keeping(engine, champions):
        await until(lambda: engine.tried)
        await asyncio.sleep(0.15)
        assert engine.tried == ["bad"]
        champions.append("good")
        await until(lambda: engine.folded == "good")


async def test_an_adapter_that_is_not_loaded_waits():
    engine, champions = Engine(), ["absent"]
    async with keeping(engine, champions):
        await asyncio.sleep(0.15)
    assert engine.tried == []
