"""Adapters on a real core: whose words an answer is made of, and what may be loaded."""

from __future__ import annotations

import asyncio
import json
import shutil

import pytest

from ratchet_server.engine.engine import EngineRequest, Message, Sampling
from ratchet_server.engine.errors import AdapterLoadFailed, AdapterNotLoaded, AdapterSlotsExhausted

ITEMS = [
    ("The capital of France is", " Paris, and it lies on the Seine."),
    ("<|im_start|>user\nTell me a joke<|im_end|>\n<|im_start|>assistant\n", "Why did the chicken cross the road?"),
    ("", "Once upon a time there was a king."),
]


def ask(digest, *, prompt="Tell me about the sea.", max_tokens=24, **options):
    sampling = Sampling(max_tokens=max_tokens, ignore_eos=True)
    return EngineRequest("t", messages=(Message("user", prompt),), digest=digest, sampling=sampling, **options)


async def text(engine, asked):
    return "".join([chunk.text async for chunk in engine.generate(asked)])


@pytest.fixture
async def adapters(engine, adapter_factory):
    """Two strong adapters, loaded."""
    made = [adapter_factory(seed, scale=0.3) for seed in (1, 2)]
    for adapter in made:
        await engine.load(adapter.digest, adapter.folder)
    yield made
    for adapter in made:
        if adapter.digest in engine.loaded():
            await engine.unload(adapter.digest)


async def test_base_rows_in_a_mixed_batch_are_the_base_models_own(engine, adapters):
    """With vLLM's stock CPU kernel the base rows come from the adapter in the last slot."""
    first, second = adapters
    alone = {digest: (await engine.score(ITEMS, digest, priority=0)) for digest in ("", first.digest, second.digest)}
    assert distance(alone[""], alone[first.digest]) > 5
    assert distance(alone[first.digest], alone[second.digest]) > 5
    # Long streams of both adapters fill the batch while the same texts are scored again.
    company = [
        asyncio.create_task(text(engine, ask(adapter.digest, max_tokens=60))) for adapter in adapters for _ in range(3)
    ]
    await asyncio.sleep(0.3)
    mixed = {digest: await engine.score(ITEMS, digest, priority=0) for digest in alone}
    assert not all(task.done() for task in company)
    await asyncio.gather(*company)
    for digest, scores in alone.items():
        assert distance(mixed[digest], scores) < 0.5, digest or "base"


async def test_answers_in_a_mixed_batch_are_those_of_their_own_adapter(engine, adapters):
    digests = ["", adapters[0].digest, adapters[1].digest]
    alone = {digest: await text(engine, ask(digest)) for digest in digests}
    assert len(set(alone.values())) == 3
    together = await asyncio.gather(*(text(engine, ask(digest)) for digest in digests * 2))
    for index, digest in enumerate(digests * 2):
        # bf16 greedy text may drift with the batch after some tokens; it never turns into another adapter's.
        assert together[index][:12] == alone[digest][:12]


async def test_prompt_log_probabilities_are_those_of_peft(engine, adapter_factory, model_folder):
    """vllm-project/vllm#16668 reports a wrong LoRA mapping for them; with our modules and kernel they are right."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(2)
    adapter = adapter_factory(5, scale=0.08)
    await engine.load(adapter.digest, adapter.folder)
    reference = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(reference, adapter.folder)
    renderer = engine._ready_renderer()
    # Scored together with base rows, so that a wrong mapping would show.
    base, adapted = await asyncio.gather(engine.score(ITEMS, ""), engine.score(ITEMS, adapter.digest))
    await engine.unload(adapter.digest)
    for index, item in enumerate(ITEMS):
        before, after = renderer.split(*item)
        with torch.no_grad():
            with tuned.disable_adapter():
                true_base = peft_log_prob(tuned, before, after)
            true_adapted = peft_log_prob(tuned, before, after)
        assert abs(true_adapted - true_base) > 1, "the adapter has to matter"
        assert close(base[index], true_base)
        assert close(adapted[index], true_adapted)
        assert base[index].tokens == len(after)


def peft_log_prob(model, before, after):
    import torch

    logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(after)[:, None]).sum())


def close(score, reference):
    """bf16 against fp32: a few hundredths of a nat per token."""
    return abs(score.log_prob - reference) < 0.06 * score.tokens + 0.01 * abs(reference)


def distance(left, right):
    return max(abs(a.log_prob - b.log_prob) for a, b in zip(left, right, strict=True))


async def test_a_greedy_answer_has_no_gap_under_its_own_adapter_and_one_under_another(engine, adapter_factory):
    # Mild enough to write real words, whose tokens are found again when the text is encoded.
    adapter = adapter_factory(1, scale=0.1)
    await engine.load(adapter.digest, adapter.folder)
    # It may end by itself: control tokens after the end are not in the text.
    question = "Write three sentences about the sea."
    said = await text(
        engine,
        EngineRequest("t", (Message("user", question),), sampling=Sampling(max_tokens=24), digest=adapter.digest),
    )
    (own,) = await engine.score_answers([(question, said)], adapter.digest)
    (foreign,) = await engine.score_answers([(question, said)], "")
    await engine.unload(adapter.digest)
    assert 0 <= own.worst_gap < 0.5 < foreign.worst_gap, said


async def test_an_unloaded_adapter_is_gone_from_the_core(engine, adapters):
    adapter = adapters[0]
    before = await engine.core.adapter_ids()
    stream = engine.generate(ask(adapter.digest, max_tokens=30))
    await anext(stream)
    unloading = asyncio.create_task(engine.unload(adapter.digest))
    await asyncio.sleep(0.1)
    assert not unloading.done(), "it waits for the request in flight"
    with pytest.raises(AdapterNotLoaded):
        await text(engine, ask(adapter.digest))
    rest = [chunk async for chunk in stream]
    assert rest[-1].finish_reason == "length"
    await unloading
    assert len(before - await engine.core.adapter_ids()) == 1


async def test_a_reloaded_adapter_has_a_new_id_and_the_same_voice(engine, adapters):
    adapter = adapters[0]
    said = await text(engine, ask(adapter.digest))
    before = await engine.core.adapter_ids()
    await engine.unload(adapter.digest)
    await engine.load(adapter.digest, adapter.folder)
    assert max(await engine.core.adapter_ids()) > max(before)
    assert await text(engine, ask(adapter.digest)) == said


async def test_bad_folders_are_refused_and_harm_nobody(engine, adapter_factory, tmp_path):
    good = adapter_factory(3)
    stream = engine.generate(ask("", max_tokens=40))
    await anext(stream)

    async def refused(folder):
        with pytest.raises(AdapterLoadFailed):
            await engine.load("sha256:" + "b" * 64, folder)

    await refused(tmp_path / "missing")
    truncated = shutil.copytree(good.folder, tmp_path / "truncated")
    weights = truncated / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    await refused(truncated)
    wide = shutil.copytree(good.folder, tmp_path / "wide")
    config = json.loads((wide / "adapter_config.json").read_text(encoding="utf-8"))
    (wide / "adapter_config.json").write_text(json.dumps(config | {"r": 64}), encoding="utf-8")
    await refused(wide)
    rest = [chunk async for chunk in stream]
    assert rest[-1].finish_reason == "length"
    await engine.check_health()


async def test_slots_are_never_over_committed(engine, adapter_factory):
    made = [adapter_factory(seed, scale=0.3) for seed in (11, 12, 13, 14)]
    for adapter in made:
        await engine.load(adapter.digest, adapter.folder)
    try:
        with pytest.raises(AdapterSlotsExhausted):
            await engine.load("sha256:" + "c" * 64, made[0].folder)
        peak = 0

        async def watch():
            nonlocal peak
            while True:
                peak = max(peak, len(engine._slots.in_flight()))
                await asyncio.sleep(0.005)

        watcher = asyncio.create_task(watch())
        digests = [adapter.digest for adapter in made] + [""]
        answers = await asyncio.gather(*(text(engine, ask(digest, max_tokens=12)) for digest in digests * 4))
        watcher.cancel()
        assert all(answers)
        assert peak == engine.settings.max_loras
        for index, digest in enumerate(digests):
            assert len({answer[:8] for answer in answers[index :: len(digests)]}) == 1, digest
    finally:
        for adapter in made:
            await engine.unload(adapter.digest)
    await engine.check_health()
