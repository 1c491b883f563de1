"""A server that stops, over real gRPC on loopback: what running calls, new calls and health checks get."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ratchet.client.errors import from_rpc_error
from ratchet.v1 import (
    adapter_pb2_grpc,
    engine_pb2_grpc,
    feedback_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    learning_pb2_grpc,
)
from ratchet_server.access.door import Door
from ratchet_server.rpc.server import RpcServer, Servicers
from ratchet_server.rpc.settings import RpcSettings

REQUEST = inference_pb2.GenerateStreamRequest(request=inference_pb2.GenerateRequest(prompt="hi"))


class Slow(inference_pb2_grpc.InferenceServiceServicer):
    """Streams `texts` texts, one every 20 ms; a unary call takes as long as its whole stream."""

    def __init__(self, texts):
        self.texts = texts
        self.begun = asyncio.Event()
        self.cancelled = 0

    async def GenerateStream(self, request, context):
        try:
            for number in range(self.texts):
                yield inference_pb2.GenerateStreamResponse(text=str(number))
                self.begun.set()
                await asyncio.sleep(0.02)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise

    async def Generate(self, request, context):
        self.begun.set()
        await asyncio.sleep(0.02 * self.texts)
        return inference_pb2.GenerateResponse(text="whole")


@pytest.fixture
async def serve():
    """Start a server around slow inference; give it, its stubs and the inference."""
    channels, servers = [], []

    async def start(texts, grace):
        slow = Slow(texts)
        server = RpcServer(
            RpcSettings(port=0, grace_seconds=grace),
            Servicers(
                slow,
                adapter_pb2_grpc.AdapterServiceServicer(),
                feedback_pb2_grpc.FeedbackServiceServicer(),
                learning_pb2_grpc.LearningServiceServicer(),
                engine_pb2_grpc.EngineServiceServicer(),
            ),
            Door(),
        )
        await server.start()
        await server.serving(True)
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        channels.append(channel)
        servers.append(server)
        return server, channel, slow

    yield start
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop()


async def texts(call):
    return [response.text async for response in call]


async def test_a_stream_that_ends_within_the_grace_time_is_whole(serve):
    server, channel, slow = await serve(10, grace=5)
    reading = asyncio.create_task(texts(inference_pb2_grpc.InferenceServiceStub(channel).GenerateStream(REQUEST)))
    await slow.begun.wait()
    began = asyncio.get_running_loop().time()
    await server.stop()
    assert await reading == [str(number) for number in range(10)]
    assert asyncio.get_running_loop().time() - began < 3, "it waits for calls, not for the grace time"


async def test_health_says_so_first_and_new_calls_are_refused_with_a_retryable_status(serve):
    server, channel, slow = await serve(30, grace=5)
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    reading = asyncio.create_task(texts(stub.GenerateStream(REQUEST)))
    await slow.begun.wait()
    stopping = asyncio.create_task(server.stop())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert not reading.done()
    await asyncio.sleep(0.05)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as late:
        with pytest.raises(grpc.RpcError) as caught:
            await inference_pb2_grpc.InferenceServiceStub(late).Generate(REQUEST.request, timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(await reading) == 30
    await asyncio.wait_for(stopping, 3), "a health watch holds nobody up"


async def test_what_outlives_the_grace_time_ends_with_a_status_that_says_retry(serve):
    server, channel, slow = await serve(1000, grace=0.3)
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    calls = [
        asyncio.create_task(texts(stub.GenerateStream(REQUEST))),
        asyncio.create_task(_unary(stub)),
    ]
    await slow.begun.wait()
    await asyncio.sleep(0.1)
    await asyncio.wait_for(server.stop(), 3)
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert from_rpc_error(error).reason == "SERVER_STOPPING"
    assert slow.cancelled == 1, "the work behind the call has ended too"


async def _unary(stub):
    return await stub.Generate(REQUEST.request)


async def test_a_client_that_leaves_is_no_end_of_the_server(serve):
    _, channel, slow = await serve(1000, grace=0.3)
    stub = inference_pb2_grpc.InferenceServiceStub(channel)
    call = stub.GenerateStream(REQUEST)
    await call.read()
    call.cancel()
    async with asyncio.timeout(3):
        while not slow.cancelled:
            await asyncio.sleep(0.01)
    again = stub.GenerateStream(REQUEST)
    assert (await again.read()).text == "0"
    again.cancel()
