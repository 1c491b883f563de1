"""Every RPC through the ingress of Ray's proxy to a real gRPC server on loopback; Ray itself is not needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from google.rpc import error_details_pb2, status_pb2

from ratchet.v1 import feedback_pb2, feedback_pb2_grpc, inference_pb2, inference_pb2_grpc
from ratchet_server.ray_serve.forwarding import SERVICER_FUNCTIONS, SERVICES, with_every_method
from ratchet_server.rpc.errors import wire_error

SERVE_CONFIG = Path(__file__).parents[3] / "deploy" / "ray" / "serve.yaml"


class AdapterNotFound(Exception):
    """As the registry's, by name."""


class Inference(inference_pb2_grpc.InferenceServiceServicer):
    """Answers with what it was sent."""

    async def Generate(self, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        if request.adapter:
            error = wire_error(AdapterNotFound("no such adapter"))
            context.set_trailing_metadata(error.trailing_metadata())
            await context.abort(error.code, error.detail)
        return inference_pb2.GenerateResponse(text=metadata.get("authorization", ""))

    async def GenerateStream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for word in ("a", "b"):
            yield inference_pb2.GenerateStreamResponse(text=word)
        if request.request.adapter:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")


class Feedback(feedback_pb2_grpc.FeedbackServiceServicer):
    """Counts what it is sent."""

    async def SubmitFlags(self, requests: AsyncIterator[Any], context: Any) -> Any:
        ids = [str(number) async for number in _numbers(requests)]
        return feedback_pb2.SubmitFlagsResponse(flag_ids=ids)


async def _numbers(requests: AsyncIterator[Any]) -> AsyncIterator[int]:
    number = 0
    async for _ in requests:
        number += 1
        yield number


class Context:
    """What Ray tells of a call."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self.sent, self.code, self.details, self.trailing = list(metadata), None, "", []

    def invocation_metadata(self) -> list[tuple[str, Any]]:
        return self.sent

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing: list[tuple[str, Any]]) -> None:
        self.trailing = trailing


@with_every_method
class Ingress:
    def __init__(self, channel: Any) -> None:
        self.channel = channel


@pytest.fixture
async def ingress() -> AsyncIterator[Any]:
    server = grpc.aio.server()
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(Inference(), server)
    feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(Feedback(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Ingress(channel)
    await server.stop(None)


async def test_a_call_comes_through_with_its_credentials_and_without_the_proxys_own_headers(ingress: Any) -> None:
    context = Context(("authorization", "Bearer key"), ("application", "ratchet"), ("user-agent", "x"))
    answer = await ingress.Generate(inference_pb2.GenerateRequest(), context)
    assert (answer.text, context.code) == ("Bearer key", None)


async def test_an_error_keeps_its_status_and_its_details(ingress: Any) -> None:
    context = Context()
    answer = await ingress.Generate(inference_pb2.GenerateRequest(adapter="nobody"), context)
    assert answer == inference_pb2.GenerateResponse()
    assert (context.code, context.details) == (grpc.StatusCode.NOT_FOUND, "no such adapter")
    status = status_pb2.Status.FromString(dict(context.trailing)["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "ADAPTER_NOT_FOUND"


async def test_streams_go_through_both_ways(ingress: Any) -> None:
    context = Context()
    answers = [each async for each in ingress.GenerateStream(inference_pb2.GenerateStreamRequest(), context)]
    assert (len(answers), context.code) == (2, None)

    async def flags() -> AsyncIterator[Any]:
        for _ in range(3):
            yield feedback_pb2.SubmitFlagsRequest()

    assert len((await ingress.SubmitFlags(flags(), Context())).flag_ids) == 3


async def test_a_stream_that_breaks_ends_with_the_status_after_what_came(ingress: Any) -> None:
    context, answers = Context(), []
    with pytest.raises(RuntimeError, match="gone"):
        breaks = inference_pb2.GenerateStreamRequest(request=inference_pb2.GenerateRequest(adapter="x"))
        async for each in ingress.GenerateStream(breaks, context):
            answers.append(each)
    assert (len(answers), context.code) == (2, grpc.StatusCode.UNAVAILABLE)


def test_no_rpc_is_left_out_and_none_hides_another() -> None:
    names = [method.name for module, name in SERVICES for method in module.DESCRIPTOR.services_by_name[name].methods]
    assert [name for name in names if not hasattr(Ingress, name)] == []

    class Taken:
        def Generate(self) -> None: ...

    with pytest.raises(ValueError, match="Generate"):
        with_every_method(Taken)


def test_the_shipped_serve_config_names_the_same_services_and_arguments_that_exist() -> None:
    application = pytest.importorskip("ratchet_server.ray_serve.application", reason="Ray Serve is not installed")
    schema = pytest.importorskip("ray.serve.schema")
    config = yaml.safe_load(SERVE_CONFIG.read_text())
    schema.ServeDeploySchema.model_validate(config)
    assert tuple(config["grpc_options"]["grpc_servicer_functions"]) == SERVICER_FUNCTIONS
    options = application.Options(**config["applications"][0]["args"])
    assert application.build(options) is not None
