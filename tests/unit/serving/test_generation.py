"""An adapter that was taken out between routing and generating is brought back; nothing is ever begun twice."""

from __future__ import annotations

import pytest

from ratchet_server.engine.engine import Chunk, EngineRequest
from ratchet_server.engine.errors import AdapterNotLoaded
from ratchet_server.serving.generation import chunks_of

ASKED = EngineRequest("r", digest="sha256:1")


class Engine:
    """Lacks the adapter for its first `missing` requests; may lose it after a chunk."""

    def __init__(self, missing, lost=False):
        self.missing, self.lost, self.asked = missing, lost, 0

    async def generate(self, request):
        self.asked += 1
        if self.asked <= self.missing:
            raise AdapterNotLoaded(request.digest)
        yield Chunk("one", 1, None, 1)
        if self.lost:
            raise AdapterNotLoaded(request.digest)
        yield Chunk("two", 1, "stop", 1)


class Swaps:
    """Notes what it was to bring back."""

    def __init__(self):
        self.brought = []

    async def usable(self, digest):
        self.brought.append(digest)


async def test_a_request_whose_adapter_left_brings_it_back_and_is_answered():
    engine, swaps = Engine(missing=2), Swaps()
    assert [chunk.text async for chunk in chunks_of(engine, swaps, ASKED)] == ["one", "two"]
    assert swaps.brought == [ASKED.digest] * 2


async def test_it_does_not_try_for_ever():
    engine, swaps = Engine(missing=9), Swaps()
    with pytest.raises(AdapterNotLoaded):
        async for _ in chunks_of(engine, swaps, ASKED):
            pass
    assert engine.asked == 3


async def test_an_answer_that_was_begun_is_not_begun_again():
    engine, swaps, said = Engine(missing=0, lost=True), Swaps(), []
    with pytest.raises(AdapterNotLoaded):
        async for chunk in chunks_of(engine, swaps, ASKED):
            said.append(chunk.text)
    assert said == ["one"] and engine.asked == 1 and swaps.brought == []
