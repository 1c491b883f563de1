"""The HTTP facade with the real `openai` client: the same path, rails and receipts as gRPC, on the real engine."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
import pytest_asyncio

from ratchet.client import AsyncRatchet
from ratchet_adapters.provenance.receipts import open_receipt
from ratchet_adapters.provenance.signing import Ed25519Verifier
from ratchet_server.app import App

ASKED = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0, "max_tokens": 12}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(app: App) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{app.http_url}/v1", api_key="unused", max_retries=0) as client:
        yield client


async def test_both_protocols_give_the_same_answer_and_the_same_receipt(
    client: AsyncRatchet, api: openai.AsyncOpenAI, receipt_keys: tuple[Path, Path]
) -> None:
    theirs = await client.generate(ASKED, **GREEDY)
    raw = await api.chat.completions.with_raw_response.create(model="ratchet", messages=ASKED, **GREEDY)
    answer = raw.parse()
    assert answer.choices[0].message.content == theirs.text and "Paris" in theirs.text
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens == theirs.receipt.tokens.prompt
    receipt = json.loads(base64.b64decode(raw.headers["x-ratchet-receipt"]))
    assert receipt == answer.model_extra["ratchet"]["receipt"]
    assert receipt["request_id"] == raw.headers["x-request-id"]
    assert raw.headers["x-ratchet-policy"] == theirs.receipt.policy_version == receipt["policy_version"]
    assert [v["rail"] for v in receipt["verdicts"]] == [v.rail for v in theirs.receipt.verdicts]
    signed = base64.b64decode(raw.headers["x-ratchet-signed-receipt"]).decode()
    assert open_receipt(signed, Ed25519Verifier.read([receipt_keys[1]]), answer=theirs.text)


async def test_a_stream_says_the_same_and_ends_with_its_receipt(client: AsyncRatchet, api: openai.AsyncOpenAI) -> None:
    theirs = await client.generate(ASKED, **GREEDY)
    stream = await api.chat.completions.create(
        model="champion", messages=ASKED, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == theirs.text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    assert chunks[-2].model_extra["ratchet"]["receipt"]["adapter_alias"] == "champion"
    assert chunks[-1].usage.completion_tokens == theirs.receipt.tokens.completion


async def test_a_client_that_leaves_in_mid_stream_frees_the_engine(app: App, api: openai.AsyncOpenAI) -> None:
    stream = await api.chat.completions.create(
        model="ratchet", messages=[{"role": "user", "content": "Tell a very long story about a bay."}],
        max_tokens=400, stream=True, extra_body={"rail_profile": "off"},
    )  # fmt: skip
    await anext(aiter(stream))
    assert app.engine.status().running
    await stream.close()
    async with asyncio.timeout(20):
        while app.engine.status().running:
            await asyncio.sleep(0.02)


async def test_an_answer_keeps_to_its_form_on_both_protocols(client: AsyncRatchet, api: openai.AsyncOpenAI) -> None:
    schema = {
        "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}, "big": {"type": "boolean"}},
        "required": ["city", "big"], "additionalProperties": False,
    }  # fmt: skip
    asked = {"temperature": 0, "max_tokens": 60}
    theirs = json.loads((await client.generate(ASKED, json_schema=schema, **asked)).text)
    wanted = {"type": "json_schema", "json_schema": {"name": "town", "schema": schema}}
    ours = await api.chat.completions.create(model="ratchet", messages=ASKED, response_format=wanted, **asked)
    assert json.loads(ours.choices[0].message.content) == theirs and set(theirs) == {"city", "big"}
    for form, allowed in ({"choice": ["Paris", "Rome"]}, ("Paris", "Rome")), ({"regex": "[A-C]{3}"}, None):
        body = {"structured_outputs": form}
        answer = await api.chat.completions.create(model="ratchet", messages=ASKED, extra_body=body, **asked)
        said = answer.choices[0].message.content
        assert said in allowed if allowed else set(said) <= set("ABC") and len(said) == 3
    for form in ({"regex": "("}, {"regex": "a", "choice": ["b"]}):
        with pytest.raises(openai.BadRequestError):
            body = {"structured_outputs": form}
            await api.chat.completions.create(model="ratchet", messages=ASKED, extra_body=body)
    assert (await client.generate(ASKED, **asked)).text
