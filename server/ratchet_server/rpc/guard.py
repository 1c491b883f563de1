"""The interceptor around every handler: validate each request message, turn domain errors into statuses.

Knows no service in particular.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import protovalidate
from google.protobuf.message import Message

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


async def _checked(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        check(request)
        yield request


class Guard(grpc.aio.ServerInterceptor):
    """Install once per server; health and reflection pass through untouched."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/ratchet."):
            return handler
        return wrapped(handler, unary=_unary, server_stream=_server_stream, client_stream=_client_stream)


def _unary(inner: Any) -> Any:
    async def call(request: Message, context: Context) -> Any:
        try:
            check(request)
            return await inner(request, context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:
            return await _abort(context, error)

    return call


def _server_stream(inner: Any) -> Any:
    async def call(request: Message, context: Context) -> AsyncIterator[Any]:
        try:
            check(request)
            async for response in inner(request, context):
                yield response
        except (grpc.aio.AbortError, asyncio.CancelledError, GeneratorExit):
            raise
        except Exception as error:
            await _abort(context, error)

    return call


def _client_stream(inner: Any) -> Any:
    async def call(requests: AsyncIterator[Message], context: Context) -> Any:
        try:
            return await inner(_checked(requests), context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as error:
            return await _abort(context, error)

    return call
