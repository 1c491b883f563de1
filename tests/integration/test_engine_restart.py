"""A core that is killed: typed errors for everybody in flight, and all adapters back after a restart."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from ratchet_server.engine.engine import EngineRequest, Message, Sampling
from ratchet_server.engine.errors import EngineUnavailable
from ratchet_server.engine.vllm import VllmEngine


def ask(digest, max_tokens=24):
    sampling = Sampling(max_tokens=max_tokens, ignore_eos=True)
    return EngineRequest("t", messages=(Message("user", "Tell me about the sea."),), digest=digest, sampling=sampling)


async def text(engine, asked):
    return "".join([chunk.text async for chunk in engine.generate(asked)])


async def test_an_engine_that_was_not_started_says_so(engine_settings):
    idle = VllmEngine(engine_settings)
    with pytest.raises(EngineUnavailable):
        await text(idle, ask(""))
    with pytest.raises(EngineUnavailable):
        await idle.check_health()
    assert not idle.status().ready
    await idle.stop()


async def test_after_the_core_is_killed_a_restart_brings_everything_back(engine, adapter_factory):
    good, fake = adapter_factory(1, scale=0.3), adapter_factory(2, scale=0.3)
    for adapter in (good, fake):
        await engine.load(adapter.digest, adapter.folder)
        await engine.prove(adapter.digest)
    said = {digest: await text(engine, ask(digest)) for digest in ("", good.digest)}
    in_flight = [asyncio.create_task(text(engine, ask(digest, 900))) for digest in ("", good.digest)]
    await asyncio.sleep(0.3)

    os.kill(engine.core.pids[0], signal.SIGKILL)
    began = time.monotonic()
    for result in await asyncio.wait_for(asyncio.gather(*in_flight, return_exceptions=True), 10):
        assert isinstance(result, EngineUnavailable)
        assert result.retryable
    assert time.monotonic() - began < 5
    with pytest.raises(EngineUnavailable):
        await engine.check_health()
    with pytest.raises(EngineUnavailable):
        await text(engine, ask(""))
    with pytest.raises(EngineUnavailable):
        await engine.score([("a", "b")], "")
    with pytest.raises(EngineUnavailable):
        await engine.load("sha256:" + "d" * 64, good.folder)
    assert not engine.status().ready

    # Meanwhile somebody swaps the files of one adapter for those of another.
    other = adapter_factory(3, scale=0.3)
    (fake.folder / "adapter_model.safetensors").write_bytes((other.folder / "adapter_model.safetensors").read_bytes())
    report = await engine.restart()
    assert report.restored == (good.digest,)
    assert list(report.refused) == [fake.digest] and "fingerprint" in report.refused[fake.digest]
    assert engine.loaded() == [good.digest]
    await engine.check_health()
    for digest, before in said.items():
        assert await text(engine, ask(digest)) == before
    await engine.unload(good.digest)
    assert engine.status().running == 0
