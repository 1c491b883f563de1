"""The engine on a real core: what a request gets, and how it ends."""

from __future__ import annotations

import asyncio
import time

import pytest

from ratchet_server.engine.engine import EVALUATION, EngineRequest, Message, Sampling
from ratchet_server.engine.errors import AdapterNotLoaded, DeadlineExceeded, PromptTooLong, RequestInvalid

QUESTION = (Message("user", "What is the capital of France?"),)


def request(*, digest="", max_tokens=24, messages=QUESTION, **options):
    sampling = Sampling(max_tokens=max_tokens, **options.pop("sampling", {}))
    return EngineRequest("test", messages=messages, digest=digest, sampling=sampling, **options)


def long_request(**options):
    return request(max_tokens=900, sampling={"ignore_eos": True}, **options)


async def collect(engine, asked):
    chunks = [chunk async for chunk in engine.generate(asked)]
    return "".join(chunk.text for chunk in chunks), chunks


async def test_an_answer_streams_in_deltas_and_says_why_it_ended(engine):
    text, chunks = await collect(engine, request())
    assert "Paris" in text
    assert len(chunks) > 2
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == "stop"
    assert chunks[0].prompt_tokens == len(engine.render(QUESTION))


async def test_max_tokens_and_stop_texts_are_kept(engine):
    _, chunks = await collect(engine, request(max_tokens=3))
    assert chunks[-1].finish_reason == "length"
    assert sum(chunk.token_ids for chunk in chunks) == 3
    text, chunks = await collect(engine, request(sampling={"stop": ("France",)}))
    assert chunks[-1].finish_reason == "stop"
    assert "France" not in text


async def test_a_seed_makes_sampling_repeatable(engine):
    options = {"temperature": 1.0, "seed": 7}
    first, _ = await collect(engine, request(sampling=options))
    again, _ = await collect(engine, request(sampling=options))
    assert first == again


async def test_a_seeded_request_with_a_prompt_of_several_steps_does_not_end_the_engine(engine):
    """vLLM's stock CPU worker dies of it: "CPU Generator does not use offset"."""
    size = engine.settings.max_batched_tokens + 200
    sampling = Sampling(max_tokens=12, temperature=1.0, seed=7, ignore_eos=True)

    def asked(first):
        return EngineRequest("test", prompt_token_ids=[first, *[504, 3575, 282] * (size // 3)], sampling=sampling)

    first, _ = await collect(engine, asked(1))
    # Another beginning in between, so that the prefix cache of the repetition is the only difference.
    await collect(engine, asked(2))
    again, _ = await collect(engine, asked(1))
    assert first and first == again
    await engine.check_health()


async def test_an_answer_is_cut_to_the_room_the_context_has_left(engine):
    limit = engine.settings.max_model_len
    asked = EngineRequest("test", prompt_token_ids=[5] * (limit - 4), sampling=Sampling(max_tokens=50, ignore_eos=True))
    _, chunks = await collect(engine, asked)
    assert sum(chunk.token_ids for chunk in chunks) == 4


async def test_a_prompt_without_room_for_a_token_is_refused_with_numbers(engine):
    limit = engine.settings.max_model_len
    with pytest.raises(PromptTooLong) as caught:
        await collect(engine, EngineRequest("test", prompt_token_ids=[5] * limit))
    assert (caught.value.prompt_tokens, caught.value.limit) == (limit, limit)
    with pytest.raises(PromptTooLong):
        await engine.score([("word " * limit, "end")], "")


@pytest.mark.parametrize(
    "asked",
    [EngineRequest("test"), request(sampling={"temperature": -1.0}), EngineRequest("test", prompt_token_ids=[])],
)
async def test_a_request_that_makes_no_sense_is_refused(engine, asked):
    with pytest.raises(RequestInvalid):
        await collect(engine, asked)


async def test_an_adapter_that_is_not_loaded_never_reaches_the_core(engine):
    with pytest.raises(AdapterNotLoaded):
        await collect(engine, request(digest="sha256:" + "0" * 64))
    with pytest.raises(AdapterNotLoaded):
        await engine.score([("a", "b")], "sha256:" + "0" * 64)
    await engine.check_health()


async def test_closing_the_stream_aborts_the_request_in_the_core(engine):
    stream = engine.generate(long_request())
    await anext(stream)
    assert engine.status().running == 1
    await stream.aclose()
    assert engine.status().running == 0
    await core_is_idle(engine)


async def test_cancelling_the_task_aborts_the_request_in_the_core(engine):
    task = asyncio.create_task(collect(engine, long_request()))
    await asyncio.sleep(0.3)
    assert engine.status().running == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.status().running == 0
    await core_is_idle(engine)


async def test_a_deadline_aborts_the_request(engine):
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await collect(engine, long_request(deadline=began + 0.4))
    assert time.monotonic() - began < 2
    assert engine.status().running == 0
    await core_is_idle(engine)


async def core_is_idle(engine):
    """After the next step, the worker knows of no request but that step's own."""
    await collect(engine, request(max_tokens=2))
    assert len((await engine.core.ask("ratchet_requests"))[0]) <= 1


async def test_scoring_does_not_hold_up_a_stream(engine):
    items = [("Some words to begin with. " * 8, "And some more to end.")] * 300

    async def gaps():
        last, found = time.monotonic(), []
        async for _ in engine.generate(request(max_tokens=40, sampling={"ignore_eos": True})):
            now = time.monotonic()
            found.append(now - last)
            last = now
        return max(found[1:])

    alone, begun = await gaps(), time.monotonic()
    await engine.score(items[:2], "", priority=EVALUATION)
    step = time.monotonic() - begun
    scoring = asyncio.create_task(engine.score(items, "", priority=EVALUATION))
    await asyncio.sleep(0.1)
    beside = await gaps()
    assert not scoring.done(), "the comparison needs scoring to go on throughout"
    scoring.cancel()
    await asyncio.gather(scoring, return_exceptions=True)
    # 128 tokens of prefill at a time, which is what two items are: a few of these on a busy machine, never 150.
    assert beside < alone + 8 * step + 1.0
    assert engine.status().waiting == 0


async def test_the_environment_of_the_server_is_untouched(engine):
    import os

    assert not {"VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_CPU_OMP_THREADS_BIND", "KMP_BLOCKTIME"} & set(os.environ)
    assert "libiomp" not in os.environ.get("LD_PRELOAD", "")
