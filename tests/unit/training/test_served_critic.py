"""The served model as a critic, over real gRPC."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from ratchet.v1 import common_pb2, inference_pb2, inference_pb2_grpc
from ratchet_adapters.training.constitution.critic import Message
from ratchet_adapters.training.constitution.errors import (
    CriticAnswerInvalid,
    CriticRefused,
    CriticUnavailable,
)
from ratchet_adapters.training.constitution.served import ServedChat

SAFE = "I can't help with that, but I can help you secure your own account."


class Served(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, reply, code=None):
        self.reply, self.code, self.asked = reply, code, []

    async def Generate(self, request, context):
        self.asked.append(request)
        if self.code is not None:
            await context.abort(self.code, "no")
        return self.reply


def served(reply, code=None):
    async def work():
        servicer = Served(reply, code)
        server = grpc.aio.server()
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with ServedChat(f"127.0.0.1:{port}", base_fingerprint="sha256:b") as chat:
                return await chat.answer(
                    [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
                ), servicer
        finally:
            await server.stop(None)

    return asyncio.run(work())


def test_the_served_model_is_asked_alone_without_rails_and_with_the_whole_conversation():
    stop = inference_pb2.FINISH_REASON_STOP
    text, servicer = served(inference_pb2.GenerateResponse(text=" It gives steps. ", finish_reason=stop))
    (request,) = servicer.asked
    assert text == "It gives steps."
    assert (request.adapter, request.rail_profile) == ("base", "off")
    assert [turn.content for turn in request.conversation.messages] == ["a", "b", "c"]
    assert request.priority == inference_pb2.PRIORITY_EVALUATION


def test_the_served_models_failures_are_typed():
    stop, blocked = inference_pb2.FINISH_REASON_STOP, inference_pb2.FINISH_REASON_BLOCKED_INPUT
    reply = inference_pb2.GenerateResponse
    adapter = common_pb2.Receipt(adapter_digest="sha256:a")
    for bad in (
        reply(text="", finish_reason=stop),
        reply(text="x", finish_reason=blocked),
        reply(text="x", finish_reason=stop, receipt=adapter),
    ):
        with pytest.raises(CriticAnswerInvalid):
            served(bad)
    with pytest.raises(CriticUnavailable):
        served(reply(), grpc.StatusCode.RESOURCE_EXHAUSTED)
    with pytest.raises(CriticRefused):
        served(reply(), grpc.StatusCode.PERMISSION_DENIED)


# The method
