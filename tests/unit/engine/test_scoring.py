"""The token budget keeps scoring within its limit and in order."""

from __future__ import annotations

import asyncio

from ratchet_server.engine.scoring import TokenBudget


async def spend(budget, tokens, trace, name, gate):
    async with budget.spend(tokens):
        trace.append(name)
        await gate.wait()


async def test_items_beyond_the_limit_wait_their_turn():
    budget = TokenBudget(lambda: 10)
    trace: list[str] = []
    gates = [asyncio.Event() for _ in range(3)]
    sizes = (6, 4, 1)
    tasks = [
        asyncio.create_task(spend(budget, size, trace, str(index), gate))
        for index, (size, gate) in enumerate(zip(sizes, gates, strict=True))
    ]
    await asyncio.sleep(0.01)
    assert trace == ["0", "1"] and budget.waiting == 1
    gates[1].set()
    await asyncio.sleep(0.01)
    assert trace == ["0", "1", "2"]
    for gate in gates:
        gate.set()
    await asyncio.gather(*tasks)


async def test_an_item_larger_than_the_limit_goes_alone():
    budget = TokenBudget(lambda: 10)
    trace: list[str] = []
    gate = asyncio.Event()
    big = asyncio.create_task(spend(budget, 50, trace, "big", gate))
    small = asyncio.create_task(spend(budget, 1, trace, "small", gate))
    await asyncio.sleep(0.01)
    assert trace == ["big"]
    gate.set()
    await asyncio.gather(big, small)


async def test_a_lower_limit_counts_from_the_next_decision():
    limit = 10
    budget = TokenBudget(lambda: limit)
    trace: list[str] = []
    gate = asyncio.Event()
    first = asyncio.create_task(spend(budget, 5, trace, "first", gate))
    await asyncio.sleep(0.01)
    limit = 5
    second = asyncio.create_task(spend(budget, 5, trace, "second", gate))
    await asyncio.sleep(0.01)
    assert trace == ["first"]
    gate.set()
    await asyncio.gather(first, second)


async def test_a_cancelled_item_gives_its_tokens_back():
    budget = TokenBudget(lambda: 10)
    trace: list[str] = []
    gate = asyncio.Event()
    tasks = [asyncio.create_task(spend(budget, 10, trace, str(index), gate)) for index in range(3)]
    await asyncio.sleep(0.01)
    tasks[1].cancel()
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert trace == ["0", "2"] and budget.waiting == 0
    gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
