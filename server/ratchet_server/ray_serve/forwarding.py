"""The methods of an ingress that hands every call on to a gRPC server in the same process.

So interceptors, limits and errors are the server's own: there is no second path. Must not know Ray, except for the
name of the argument in which it passes a call's context, nor what any service does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Protocol

import grpc
from google.protobuf import symbol_database
from google.protobuf.descriptor import MethodDescriptor

from ratchet.v1 import adapter_pb2, engine_pb2, feedback_pb2, inference_pb2, learning_pb2

SERVICES = (
    (inference_pb2, "InferenceService"),
    (adapter_pb2, "AdapterService"),
    (feedback_pb2, "FeedbackService"),
    (learning_pb2, "LearningService"),
    (engine_pb2, "EngineService"),
)
SERVICER_FUNCTIONS = tuple(f"{module.__name__}_grpc.add_{service}Servicer_to_server" for module, service in SERVICES)
"""What Ray Serve is given to know the services, as import paths."""

_OWN_METADATA = ("application", "user-agent", "grpc-", ":", "te", "content-type")


class Context(Protocol):
    """What Ray tells of a call."""

    def invocation_metadata(self) -> list[tuple[str, Any]]:
        """What the client sent."""
        ...

    def set_code(self, code: grpc.StatusCode) -> None:
        """The status the call ends with."""
        ...

    def set_details(self, details: str) -> None:
        """Its text."""
        ...

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, Any]]) -> None:
        """What is sent after the answer."""
        ...


def with_every_method(cls: type) -> type:
    """Give a class, whose instances have a `channel`, one method for every RPC.

    Raises:
        ValueError: Two services have a method of the same name; Ray tells them apart by nothing else.
    """
    for method in _methods():
        if hasattr(cls, method.name):
            raise ValueError(f"two services have a method {method.name}")
        setattr(cls, method.name, _forward(method))
    return cls


def _methods() -> Iterator[MethodDescriptor]:
    for module, service in SERVICES:
        yield from module.DESCRIPTOR.services_by_name[service].methods


def _forward(method: MethodDescriptor) -> Callable[..., Any]:
    message = symbol_database.Default().GetSymbol
    empty = message(method.output_type.full_name)
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    serialize = message(method.input_type.full_name).SerializeToString

    def call(ingress: Any, request: Any, grpc_context: Context) -> Any:
        start = getattr(ingress.channel, kind)(
            path, request_serializer=serialize, response_deserializer=empty.FromString
        )
        return start(request, metadata=_metadata(grpc_context))

    async def unary(self: Any, request: Any, grpc_context: Context) -> Any:
        try:
            return await call(self, request, grpc_context)
        except grpc.aio.AioRpcError as error:
            # Not raised: Ray would drop the details that say what was wrong. The status makes the answer an error.
            _fail(grpc_context, error)
            return empty()

    async def stream(self: Any, request: Any, grpc_context: Context) -> AsyncIterator[Any]:
        try:
            async for answer in call(self, request, grpc_context):
                yield answer
        except grpc.aio.AioRpcError as error:
            _fail(grpc_context, error)
            raise RuntimeError(error.details()) from None

    forward = stream if method.server_streaming else unary
    forward.__name__ = forward.__qualname__ = method.name
    return forward


def _metadata(context: Context) -> tuple[tuple[str, Any], ...]:
    return tuple((key, value) for key, value in context.invocation_metadata() if not key.startswith(_OWN_METADATA))


def _fail(context: Context, error: grpc.aio.AioRpcError) -> None:
    context.set_code(error.code())
    context.set_details(error.details() or "")
    context.set_trailing_metadata([(key, value) for key, value in error.trailing_metadata() or ()])
