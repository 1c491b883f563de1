"""The HTTP facade with the real `openai` client over loopback: form, errors, streams, and clients that leave."""

from __future__ import annotations

import asyncio
import json

import httpx
import openai
import pytest
from tests.unit.front.conftest import Script, Serve

from ratchet_adapters.registry import AdapterNotFound
from ratchet_server.engine.engine import Form
from ratchet_server.engine.errors import PromptTooLong
from ratchet_server.serving.errors import RailFailed

ASKED = [{"role": "user", "content": "What is the capital of France?"}]


async def test_an_answer_has_openais_form_and_its_receipt_in_headers(serve: Serve) -> None:
    async with serve() as served, served.openai() as api:
        raw = await api.chat.completions.with_raw_response.create(model="ratchet", messages=ASKED, user="ann", seed=3)
        answer = raw.parse()
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("Paris is it.", "stop")
        assert answer.usage.total_tokens == 8 and answer.model == "ratchet"
        assert raw.headers["x-ratchet-adapter"] == "base" and raw.headers["x-ratchet-policy"] == "sha256:aa"
        (asked,) = served.script.asked
        assert (asked.adapter, asked.principal, asked.sampling.seed) == ("", "ann", 3)
        assert raw.headers["x-request-id"] == asked.request_id and asked.deadline == 600


async def test_a_stream_is_the_same_answer_and_ends_with_its_receipt(serve: Serve) -> None:
    async with serve() as served, served.openai() as api:
        stream = await api.chat.completions.create(
            model="champion", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert [c.choices[0].delta.content for c in chunks[:3]] == ["Paris ", "is ", "it."]
        assert [c.choices[0].delta.role for c in chunks[:2]] == ["assistant", None]
        assert chunks[3].choices[0].finish_reason == "stop"
        assert chunks[3].model_extra["ratchet"]["receipt"]["request_id"] == served.script.asked[0].request_id
        assert (chunks[4].choices, chunks[4].usage.completion_tokens) == ([], 3)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_blocked_prompt_is_a_content_filter_that_says_why(serve: Serve, stream: bool) -> None:
    async with serve(Script(blocked=True)) as served, served.openai() as api:
        answer = await api.chat.completions.create(model="ratchet", messages=ASKED, stream=stream)
        if stream:
            chunks = [chunk async for chunk in answer]
            assert "".join(c.choices[0].delta.content or "" for c in chunks) == ""
            choice, why = chunks[-1].choices[0], chunks[-1].choices[0].delta.refusal
        else:
            choice, why = answer.choices[0], answer.choices[0].message.refusal
            assert choice.message.content == ""
        assert (choice.finish_reason, why) == ("content_filter", "blocked by no bombs: asks for a bomb")


@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_before_there_is_text_has_a_status(serve: Serve, stream: bool) -> None:
    for error, kind, status, code in (
        (RailFailed(["x"]), openai.InternalServerError, 503, "rail_failed"),
        (AdapterNotFound("gpt-4o"), openai.NotFoundError, 404, "model_not_found"),
        (PromptTooLong(900, 800), openai.BadRequestError, 400, "context_length_exceeded"),
        (KeyError("a defect"), openai.InternalServerError, 500, "internal"),
    ):
        async with serve(Script(error=(0, error))) as served, served.openai() as api:
            with pytest.raises(kind) as caught:
                await api.chat.completions.create(model="gpt-4o", messages=ASKED, stream=stream)
            assert (caught.value.status_code, caught.value.code) == (status, code)
            assert "a defect" not in caught.value.message
            assert (caught.value.response.headers.get("retry-after") == "1") is (status == 503)


async def test_what_fails_after_some_text_ends_the_stream_with_an_error(serve: Serve) -> None:
    async with serve(Script(error=(2, RailFailed(["x"])))) as served, served.openai() as api:
        seen = []
        with pytest.raises(openai.APIError, match="rails failed"):
            async for chunk in await api.chat.completions.create(model="ratchet", messages=ASKED, stream=True):
                seen.append(chunk.choices[0].delta.content)
        assert seen == ["Paris ", "is "]


async def test_errors_name_the_parameter_as_openai_calls_it(serve: Serve) -> None:
    async with serve() as served, served.openai() as api:
        for wrong, param in (
            ({"temperature": 9}, "temperature"),
            ({"n": 2}, "n"),
            ({"max_tokens": -1}, "max_tokens"),
            ({"max_tokens": 100_000}, "max_tokens"),
            ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
            ({"presence_penalty": 1}, "presence_penalty"),
            ({"stop": [""]}, "stop[0]"),
            ({"user": "x" * 200}, "user"),
        ):
            with pytest.raises(openai.BadRequestError) as caught:
                await api.chat.completions.create(model="ratchet", messages=ASKED, **wrong)
            assert caught.value.param == param, caught.value
        with pytest.raises(openai.BadRequestError, match="must be the user's"):
            await api.chat.completions.create(model="ratchet", messages=[{"role": "assistant", "content": "hm"}])
        assert served.script.asked == []


async def test_whole_messages_of_an_answer_can_be_sent_back(serve: Serve) -> None:
    async with serve() as served, served.openai() as api:
        answer = await api.chat.completions.create(model="ratchet", messages=ASKED)
        parts = {"role": "user", "content": [{"type": "text", "text": "And of "}, {"type": "text", "text": "Italy?"}]}
        blocked = {"role": "assistant", "content": "", "refusal": "blocked by no bombs"}
        history = [{"role": "developer", "content": "Be brief."}, *ASKED, answer.choices[0].message, *ASKED, blocked]
        await api.chat.completions.create(model="ratchet", messages=[*history, parts])
        assert [(m.role, m.content) for m in served.script.asked[-1].messages] == [
            ("system", "Be brief."), ("user", ASKED[0]["content"]), ("assistant", "Paris is it."),
            ("user", ASKED[0]["content"]), ("user", "And of Italy?"),
        ]  # fmt: skip


async def test_models_are_listed(serve: Serve) -> None:
    async with serve() as served, served.openai() as api:
        assert [model.id async for model in api.models.list()] == ["ratchet", "champion", "base"]


@pytest.mark.parametrize(("stream", "words"), [(False, 0), (True, 0), (True, 1)])
async def test_a_client_that_leaves_ends_the_request(serve: Serve, stream: bool, words: int) -> None:
    gate = asyncio.Event()
    async with serve(Script(gate=gate)) as served, served.openai() as api, asyncio.timeout(10):
        asking = asyncio.create_task(api.chat.completions.create(model="ratchet", messages=ASKED, stream=stream))
        while not served.script.running:
            await asyncio.sleep(0.01)
        if words:
            gate.set()
            answer = await asking
            gate.clear()
            await answer.close()
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        while served.script.running:
            await asyncio.sleep(0.01)


async def test_what_is_not_a_chat_is_refused_in_the_same_form(serve: Serve) -> None:
    async with serve() as served, httpx.AsyncClient(base_url=served.front.http.url) as http:
        for body in (b"", b"{", b"[]", b"null", b'{"model": "ratchet"}', b"\xff\xfe", b"[" * 10_000):
            answer = await http.post("/v1/chat/completions", content=body)
            assert answer.status_code == 400 and answer.json()["error"]["message"], body[:20]
        large = await http.post("/v1/chat/completions", content=b" " * (5 << 20))
        assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
        unknown = await http.post("/v1/embeddings", json={})
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_url")
        assert (await http.get("/health")).json() == {"serving": True}


async def test_the_form_of_an_answer_reaches_the_engine(serve: Serve) -> None:
    async with serve() as served, served.openai() as api:
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        for given, form in (
            ({"response_format": {"type": "json_object"}}, Form(json_schema='{"type": "object"}')),
            (
                {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
                Form(json_schema=json.dumps(schema)),
            ),
            ({"extra_body": {"structured_outputs": {"choice": ["a", "b"]}}}, Form(choices=("a", "b"))),
            ({"extra_body": {"structured_outputs": {"regex": "a+"}}}, Form(regex="a+")),
            ({"response_format": {"type": "text"}}, None),
            ({}, None),
        ):
            await api.chat.completions.create(model="ratchet", messages=ASKED, **given)
            assert served.script.asked[-1].sampling.form == form
        for wrong in ({"response_format": {"type": "json_schema"}}, {"response_format": {"type": "xml"}}):
            with pytest.raises(openai.BadRequestError, match="response_format"):
                await api.chat.completions.create(model="ratchet", messages=ASKED, **wrong)
    async with serve() as served, served.client() as client:
        await client.generate("Hi", json_schema=schema, timeout=5)
        await client.generate("Hi", choices=["a"], timeout=5)
        assert [r.sampling.form for r in served.script.asked] == [Form(json.dumps(schema)), Form(choices=("a",))]
