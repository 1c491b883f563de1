"""The interceptor around every handler: who calls and may they, is the message valid, what status has an error.

Knows no service in particular.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import protovalidate
from google.protobuf.message import Message

from ratchet_server.access.claims import replace_claims
from ratchet_server.access.door import Door
from ratchet_server.access.identity import Credentials, Identity, act_as
from ratchet_server.access.permissions import permission
from ratchet_server.rpc.errors import FieldsInvalid, wire_error
from ratchet_server.rpc.wrapping import wrapped

Context = grpc.aio.ServicerContext[Any, Any]


def check(message: Message) -> None:
    """Raises FieldsInvalid, with the path of each field, if the message breaks its protovalidate rules."""
    try:
        protovalidate.validate(message)
    except protovalidate.ValidationError as error:
        raise FieldsInvalid([(_path(v.proto.field), v.proto.message) for v in error.violations]) from None


def _path(field: Any) -> str:
    if field is None:
        return ""
    parts = []
    for element in field.elements:
        subscript = element.subscript
        index = f"[{subscript.value}]" if subscript is not None and hasattr(subscript, "value") else ""
        parts.append(f"{element.field_name}{index}")
    return ".".join(parts)


async def _abort(context: Context, error: Exception) -> None:
    wire = wire_error(error)
    await context.abort(wire.code, wire.detail, wire.trailing_metadata())


def accept(message: Message, identity: Identity) -> None:
    """Makes a message one that may be acted on: its claims replaced by who calls, its rules kept.

    Raises:
        FieldsInvalid: It breaks a rule.
    """
    replace_claims(message, identity)
    check(message)


async def _accepted(requests: AsyncIterator[Message], identity: Identity) -> AsyncIterator[Message]:
    async for request in requests:
        accept(request, identity)
        yield request


def _credentials(context: Context) -> Credentials:
    header = next((str(value) for key, value in context.invocation_metadata() or () if key == "authorization"), "")
    proven = context.auth_context()
    names = [*proven.get("x509_subject_alternative_name", ()), *proven.get("x509_common_name", ())]
    return Credentials(header, tuple(name.decode("utf-8", "replace") for name in names), context.peer())


class Guard(grpc.aio.ServerInterceptor):
    """Install once per server; health and reflection pass through untouched."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or permission(method).roles is None:
            return handler

        async def admit(context: Context) -> Identity:
            return await self._door.admit(method, _credentials(context))

        return wrapped(
            handler,
            unary=lambda inner: _unary(inner, admit),
            server_stream=lambda inner: _server_stream(inner, admit),
            client_stream=lambda inner: _client_stream(inner, admit),
        )


Admit = Callable[[Context], Awaitable[Identity]]


def _unary(inner: Any, admit: Admit) -> Any:
    async def call(request: Message, context: Context) -> Any:
        try:
            identity = await admit(context)
            accept(request, identity)
            act_as(identity)
            return await inner(request, context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:
            return await _abort(context, error)

    return call


def _server_stream(inner: Any, admit: Admit) -> Any:
    async def call(request: Message, context: Context) -> AsyncIterator[Any]:
        try:
            identity = await admit(context)
            accept(request, identity)
            act_as(identity)
            async for response in inner(request, context):
                yield response
        except (grpc.aio.AbortError, asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as error:
            await _abort(context, error)

    return call


def _client_stream(inner: Any, admit: Admit) -> Any:
    async def call(requests: AsyncIterator[Message], context: Context) -> Any:
        try:
            identity = await admit(context)
            act_as(identity)
            return await inner(_accepted(requests, identity), context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:
            return await _abort(context, error)

    return call
