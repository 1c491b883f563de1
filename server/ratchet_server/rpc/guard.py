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
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary), **codec)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(_server_stream(handler.unary_stream), **codec)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(_client_stream(handler.stream_unary), **codec)
        return handler


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
