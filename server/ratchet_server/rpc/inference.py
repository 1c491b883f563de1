"""InferenceService: the request path on the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from ratchet.v1 import inference_pb2 as pb
from ratchet.v1 import inference_pb2_grpc
from ratchet_server.rpc.answers import Answers
from ratchet_server.rpc.guard import Context


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    """See inference.proto."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        """Nothing leaves before all of it has passed."""
        return await self._answers.whole(request, context.time_remaining())

    async def GenerateStream(
        self, request: pb.GenerateStreamRequest, context: Context
    ) -> AsyncIterator[pb.GenerateStreamResponse]:
        """Released text, then the receipt."""
        async with aclosing(self._answers.stream(request.request, context.time_remaining())) as events:
            async for event in events:
                yield event
