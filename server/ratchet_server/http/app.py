"""The routes: chat completions and the list of models, each through the same door and the same path as gRPC."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from ratchet.v1 import inference_pb2 as pb
from ratchet_server.access.door import Door
from ratchet_server.access.identity import Credentials, Identity, act_as
from ratchet_server.http import completions
from ratchet_server.http.chat import ChatRequest, to_contract
from ratchet_server.http.errors import HttpError, http_error, refusal
from ratchet_server.http.settings import HttpSettings
from ratchet_server.rpc.answers import Answers
from ratchet_server.rpc.guard import accept

__all__ = ["ROUTES", "facade"]

T = TypeVar("T")

_WHOLE = "/ratchet.v1.InferenceService/Generate"
_STREAM = "/ratchet.v1.InferenceService/GenerateStream"
ROUTES = {"/v1/chat/completions": "POST", "/v1/models": "GET", "/health": "GET"}
"""Path -> method."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_BEGAN = int(time.time())


def facade(
    answers: Answers,
    door: Door,
    models: Callable[[], list[str]],
    ready: Callable[[], bool],
    settings: HttpSettings,
) -> Starlette:
    """Return the ASGI application.

    Args:
        answers: The service itself.
        door: Who may come in.
        models: The names that the caller may ask for.
        ready: Whether the service answers now.
        settings: Limits.
    """
    chats = _Chats(answers, door, settings)

    async def list_models(request: Request) -> Response:
        act_as(await door.admit("GET /v1/models", _credentials(request)))
        listed = [{"id": name, "object": "model", "created": _BEGAN, "owned_by": "ratchet"} for name in models()]
        return JSONResponse({"object": "list", "data": listed})

    async def health(request: Request) -> Response:
        return JSONResponse({"serving": ready()}, 200 if ready() else 503)

    handlers = {"/v1/chat/completions": chats.create, "/v1/models": list_models, "/health": health}
    return Starlette(
        routes=[Route(path, _explained(handlers[path]), methods=[method]) for path, method in ROUTES.items()],
        exception_handlers={HTTPException: _unknown_route},
    )


class _Chats:
    def __init__(self, answers: Answers, door: Door, settings: HttpSettings) -> None:
        self._answers = answers
        self._door = door
        self._settings = settings

    async def create(self, request: Request) -> Response:
        """One chat completion, whole or as a stream of server-sent events."""
        created = int(time.time())
        credentials = _credentials(request)
        # Before the body: who may not ask need not send it.
        identity = await self._door.admit(_WHOLE, credentials)
        body = await self._body(request)
        if not isinstance(body, bytes):
            return _error(body)
        chat = ChatRequest.model_validate_json(body)
        if chat.stream:
            identity = await self._door.admit(_STREAM, credentials)
        act_as(identity)
        message = _message(chat, request, identity)
        if chat.stream:
            return await self._stream(request, chat, message, created)
        response = await _unless_gone(request, self._answers.whole(message, self._settings.timeout_seconds))
        headers = completions.receipt_headers(response) | {"x-request-id": message.request_id}
        return JSONResponse(completions.completion(response, chat.model, created), headers=headers)

    async def _stream(self, request: Request, chat: ChatRequest, message: pb.GenerateRequest, created: int) -> Response:
        events = self._answers.stream(message, self._settings.timeout_seconds)
        try:
            # What fails before there is text fails with a status of its own.
            first = await _unless_gone(request, anext(events))
        except BaseException:
            await events.aclose()
            raise
        lines = _lines(first, events, chat, message.request_id, created)
        headers = {"x-request-id": message.request_id, "cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(lines, headers=headers, media_type="text/event-stream")

    async def _body(self, request: Request) -> bytes | HttpError:
        most, body = self._settings.max_body_bytes, bytearray()
        async for part in request.stream():
            body += part
            if len(body) > most:
                return refusal(413, f"the body is larger than {most} bytes", "request_too_large")
        return bytes(body)


async def _lines(
    first: pb.GenerateStreamResponse,
    events: AsyncGenerator[pb.GenerateStreamResponse, None],
    chat: ChatRequest,
    request_id: str,
    created: int,
) -> AsyncIterator[bytes]:
    begun = False
    async with aclosing(events):
        try:
            async for event in _after(first, events):
                if event.WhichOneof("event") == "done":
                    if not begun:
                        yield completions.sse(completions.chunk(request_id, chat.model, created, "", first=True))
                    usage = chat.stream_options.include_usage
                    for last in completions.end_of_stream(request_id, chat.model, created, event.done, usage=usage):
                        yield completions.sse(last)
                else:
                    text = event.text
                    yield completions.sse(completions.chunk(request_id, chat.model, created, text, first=not begun))
                    begun = True
        except Exception as error:
            # The status has been sent: the error is the last event, which OpenAI clients raise.
            yield completions.sse(http_error(error).body)
            return
    yield b"data: [DONE]\n\n"


async def _after(
    first: pb.GenerateStreamResponse, rest: AsyncIterator[pb.GenerateStreamResponse]
) -> AsyncIterator[pb.GenerateStreamResponse]:
    yield first
    async for event in rest:
        yield event


def _message(chat: ChatRequest, request: Request, identity: Identity) -> pb.GenerateRequest:
    given = request.headers.get("x-request-id", "")
    message = to_contract(chat, given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
    accept(message, identity)
    return message


def _credentials(request: Request) -> Credentials:
    peer = f"http:{request.client.host}:{request.client.port}" if request.client else "http"
    return Credentials(request.headers.get("authorization", ""), (), peer)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Return what the work returns; it is cancelled as soon as the client has left.

    Raises:
        ClientDisconnect: Nobody waits for it any more.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _explained(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def call(request: Request) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            return _error(http_error(error))

    return call


async def _unknown_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    what = f"{request.method} {request.url.path}"
    known = ", ".join(f"{method} {path}" for path, method in ROUTES.items())
    return _error(refusal(status, f"{what} is not served here; there are {known}", "unknown_url"))


def _error(error: HttpError) -> Response:
    return JSONResponse(error.body, error.status, headers=error.headers)
