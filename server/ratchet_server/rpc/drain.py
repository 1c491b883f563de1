"""The end of a server: running calls may finish within a grace time, then they are ended with a status that says retry.

gRPC's own end of a call is CANCELLED, which clients rightly do not retry. Knows no service in particular.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import grpc

from ratchet_server.rpc.errors import wire_error
from ratchet_server.rpc.wrapping import wrapped

__all__ = ["Drain", "ServerStopping"]


class ServerStopping(Exception):
    """The server stops and the call did not finish within the grace time."""

    def __init__(self, grace_seconds: float) -> None:
        self.grace_seconds = grace_seconds
        super().__init__(f"this server stops and the call took longer than {grace_seconds:g} s more: retry elsewhere")


class Drain(grpc.aio.ServerInterceptor):
    """Knows the calls under way on one server. Install it outermost; health watches are not waited for."""

    def __init__(self, grace_seconds: float) -> None:
        """`grace_seconds`: how long running calls may go on once the server stops."""
        self._grace = grace_seconds
        self._calls: set[asyncio.Task[Any]] = set()
        # Cancelled while gRPC sends a message, a call would end without a word: it is told when it is back.
        self._sending: set[asyncio.Task[Any]] = set()
        self._over = False

    @property
    def running(self) -> int:
        """Calls under way."""
        return len(self._calls)

    async def wait(self) -> None:
        """Return when no call is under way; those that outlive the grace time are ended."""
        end = asyncio.get_running_loop().time() + self._grace
        while self._calls and (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(set(self._calls), timeout=left)
        self._over = True
        for call in self._calls - self._sending:
            call.cancel()
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=self._grace)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/ratchet."):
            return handler
        return wrapped(handler, unary=self._once, server_stream=self._stream, client_stream=self._once)

    def _once(self, inner: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            with self._under_way():
                try:
                    return await inner(request, context)
                except asyncio.CancelledError:
                    if not self._over:
                        raise
                    return await self._end(context)

        return call

    def _stream(self, inner: Any) -> Any:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            with self._under_way() as task:
                try:
                    async with aclosing(inner(request, context)) as responses:
                        async for response in responses:
                            self._sending.add(task)
                            yield response
                            self._sending.discard(task)
                            if self._over:
                                raise asyncio.CancelledError
                except asyncio.CancelledError:
                    if not self._over:
                        raise
                    await self._end(context)

        return call

    @contextmanager
    def _under_way(self) -> Iterator[asyncio.Task[Any]]:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            yield task
        finally:
            self._calls.discard(task)
            self._sending.discard(task)

    async def _end(self, context: Any) -> None:
        wire = wire_error(ServerStopping(self._grace))
        await context.abort(wire.code, wire.detail, wire.trailing_metadata())
