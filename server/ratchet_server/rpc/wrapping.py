"""Puts something around the handler of a call, of whatever kind the call is. Knows no interceptor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

__all__ = ["wrapped"]

Wrap = Callable[[Any], Any]


def wrapped(
    handler: grpc.RpcMethodHandler[Any, Any], *, unary: Wrap, server_stream: Wrap, client_stream: Wrap
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return the handler with its behaviour wrapped.

    Raises:
        NotImplementedError: It streams both ways. No call of Ratchet's does, and none may pass unguarded.
    """
    codec = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(unary(handler.unary_unary), **codec)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(server_stream(handler.unary_stream), **codec)
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(client_stream(handler.stream_unary), **codec)
    raise NotImplementedError("calls that stream both ways can not be wrapped")
