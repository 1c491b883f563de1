"""Folding on a real core: nobody is served anything else than before, only faster, and it goes back to the bit."""

from __future__ import annotations

import asyncio

import pytest

from ratchet_server.engine.engine import EngineRequest, Message, Sampling
from ratchet_server.engine.errors import AdapterNotFolded
from ratchet_server.engine.proof import FINGERPRINT_TOLERANCE, FOLD_TOLERANCE

ITEMS = [
    ("The capital of France is", " Paris, and it lies on the Seine."),
    ("", "Once upon a time there was a king."),
]
SEA = "Tell me about the sea."


def ask(digest, max_tokens=16, prompt=SEA):
    sampling = Sampling(max_tokens=max_tokens, ignore_eos=True)
    return EngineRequest("t", messages=(Message("user", prompt),), digest=digest, sampling=sampling)


async def text(engine, asked):
    return "".join([chunk.text async for chunk in engine.generate(asked)])


async def scores(engine, digest):
    # One at a time: equal shapes give equal bits.
    return [(await engine.score([item], digest))[0].log_prob for item in ITEMS]


def apart(left, right):
    return max(abs(a - b) for a, b in zip(left, right, strict=True))


@pytest.fixture
async def adapters(engine, adapter_factory):
    """Two adapters, loaded: the first is the one to fold."""
    made = [adapter_factory(seed, scale=0.1) for seed in (21, 22)]
    for adapter in made:
        await engine.load(adapter.digest, adapter.folder)
    yield [adapter.digest for adapter in made]
    await engine.unfold()
    for adapter in made:
        if engine.holds(adapter.digest):
            await engine.unload(adapter.digest)


async def test_folding_changes_nobodys_answers_and_is_undone_to_the_bit(engine, adapters):
    champion, other = adapters
    names = ("", champion, other)
    before = {name: await scores(engine, name) for name in names}
    said = {name: await text(engine, ask(name)) for name in names}
    assert len(set(said.values())) == 3
    held = len(await engine.core.adapter_ids())

    # Streams go on while it is folded, each on what it began with.
    streams = {name: asyncio.create_task(text(engine, ask(name, 60))) for name in (champion, "")}
    report = await engine.fold(champion)
    assert (engine.folded, report.digest, report.modules) == (champion, champion, 60)
    assert engine.loaded() == adapters, "the fold is no adapter of its own to anybody else"
    for name, stream in streams.items():
        assert (await stream)[:12] == said[name][:12]

    after = {name: await scores(engine, name) for name in names}
    tolerance = FOLD_TOLERANCE if engine.core.exact else FINGERPRINT_TOLERANCE
    assert 0 < apart(after[champion], before[champion]) < tolerance, "served from other weights, to the same effect"
    assert after[""] == before[""] and after[other] == before[other], "all others keep their very bits"
    # All three in one batch, several times over.
    together = await asyncio.gather(*(text(engine, ask(name)) for name in names * 2))
    for index, name in enumerate(names * 2):
        expected = said[name] if engine.core.exact else said[name][:12]
        assert together[index][: len(expected)] == expected

    await engine.unfold()
    assert engine.folded == ""
    assert {name: await scores(engine, name) for name in names} == before
    assert len(await engine.core.adapter_ids()) == held
    assert await engine.core.ask("ratchet_folds") == [[]]


async def test_a_stream_keeps_the_weights_and_the_cache_it_began_with(engine, adapters):
    champion, _ = adapters
    stream = engine.generate(ask(champion, 40))
    await anext(stream)
    await engine.fold(champion)
    fresh = engine.generate(ask(champion, 40))
    await anext(fresh)
    in_flight = engine._slots.in_flight()
    assert in_flight == {champion: 1, f"{champion}#folded": 1}
    # Taken out under it, fold and all, the stream on the fold still ends on the fold; new requests get the LoRA.
    leaving = asyncio.create_task(engine.unload(champion))
    await asyncio.sleep(0.05)
    assert engine.folded == "" and not leaving.done()
    assert await text(engine, ask(champion, 2))
    for running in (stream, fresh):
        assert [chunk async for chunk in running][-1].finish_reason == "length"
    await leaving
    assert not engine.holds(champion) and engine.status().running == 0
    assert await engine.core.ask("ratchet_folds") == [[]]


async def test_what_cannot_be_folded_is_refused_and_served_as_before(engine, adapter_factory):
    silent = adapter_factory(23, zero=True)
    await engine.load(silent.digest, silent.folder)
    with pytest.raises(AdapterNotFolded, match="it changes no module"):
        await engine.fold(silent.digest)
    assert engine.folded == ""
    assert await text(engine, ask(silent.digest, 8)) == await text(engine, ask("", 8))
    await engine.unload(silent.digest)
