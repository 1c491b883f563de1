"""The efficacy proof on a real core, against the ways an adapter can be a lie."""

from __future__ import annotations

import asyncio

import pytest

from ratchet_server.engine.engine import EngineRequest, Message, Sampling
from ratchet_server.engine.errors import AdapterFingerprintMismatch, AdapterHasNoEffect, AdapterLoadFailed
from ratchet_server.engine.proof import FINGERPRINT_TOLERANCE, NOISE_FLOOR, PROMPTS


@pytest.fixture
async def loading(engine, adapter_factory):
    """Make and load adapters; unload them at the end."""
    digests = []

    async def load(*arguments, digest=None, **options):
        adapter = adapter_factory(*arguments, **options)
        digests.append(digest or adapter.digest)
        await engine.load(digests[-1], adapter.folder)
        return digests[-1]

    yield load
    for digest in digests:
        if digest in engine.loaded():
            await engine.unload(digest)


async def test_a_working_adapter_proves_itself_and_repeats_its_fingerprint(engine, loading):
    digest = await loading(1, scale=0.3)
    proof = await engine.prove(digest)
    assert proof.prompts == len(PROMPTS)
    assert proof.max_delta >= proof.mean_delta > 1
    again = await engine.prove(digest, proof)
    assert again.fingerprint == pytest.approx(proof.fingerprint, abs=FINGERPRINT_TOLERANCE)


LIES = {
    "another architecture's module names": {"scale": 0.3, "prefix": "base_model.model.transformer.blocks"},
    "another base model, of more layers": {"scale": 0.3, "first_layer": 30},
    "zeroed weights": {"zero": True},
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_vllm_accepts_and_serves_as_the_base_model_is_refused(engine, adapter_factory, loading, lie):
    adapter = adapter_factory(31, **LIES[lie])
    core, number = engine.core, 9_000 + list(LIES).index(lie)
    # vLLM alone: it loads without a word, and every answer is the base model's.
    await core.add("lie", number, adapter.folder)
    assert await tokens(engine, ("lie", number, adapter.folder)) == await tokens(engine, None)
    await core.remove(number)
    digest = await loading(31, **LIES[lie])
    with pytest.raises(AdapterHasNoEffect) as caught:
        await engine.prove(digest)
    assert caught.value.max_delta <= NOISE_FLOOR


async def tokens(engine, lora):
    """What the core itself makes of a request, past everything of ours."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    params = SamplingParams(max_tokens=8, temperature=0.0, output_kind=RequestOutputKind.FINAL_ONLY)
    prompt = engine.render([Message("user", "Tell me about the sea.")])
    (output,) = [output async for output in engine.core.stream("raw", prompt, params, lora, 0)]
    return list(output.outputs[0].token_ids)


@pytest.mark.parametrize("options", [{"rank": 64}, {"settings": {"modules_to_save": ["lm_head"]}}])
async def test_a_rank_above_the_limit_and_whole_modules_are_refused_at_load(engine, adapter_factory, options):
    adapter = adapter_factory(32, **options)
    with pytest.raises(AdapterLoadFailed):
        await engine.load(adapter.digest, adapter.folder)
    assert not engine.holds(adapter.digest)
    await engine.check_health()


async def test_another_versions_bytes_under_a_digest_are_refused(engine, loading):
    digest = await loading(1, scale=0.3)
    proof = await engine.prove(digest)
    await engine.unload(digest)
    await loading(2, scale=0.3, digest=digest)
    with pytest.raises(AdapterFingerprintMismatch):
        await engine.prove(digest, proof)


async def test_the_noise_of_a_busy_batch_is_below_the_stated_floor(engine, loading):
    digest = await loading(1, scale=0.3)

    async def scores(name):
        return [(await engine.score_answers([prompt], name))[0].log_prob for prompt in PROMPTS]

    async def traffic(index):
        asked = EngineRequest(
            "t",
            messages=(Message("user", f"Tell me story number {index}."),),
            digest=(digest, "")[index % 2],
            sampling=Sampling(max_tokens=80, ignore_eos=True, temperature=1.0, seed=index),
        )
        async for _ in engine.generate(asked):
            pass

    alone = {name: await scores(name) for name in ("", digest)}
    company = [asyncio.create_task(traffic(index)) for index in range(8)]
    await asyncio.sleep(0.3)
    noise = 0.0
    for name in alone:
        together = await engine.score_answers(list(PROMPTS), name, priority=0)
        pairs = zip(together, alone[name], strict=True)
        noise = max(noise, *(abs(score.log_prob - solo) for score, solo in pairs))
    assert not all(task.done() for task in company)
    await asyncio.gather(*company)
    assert noise < NOISE_FLOOR
