"""A table of adapter slots over a core in memory, and a clock that stands still."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ratchet_server.engine.errors import AdapterLoadFailed
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
