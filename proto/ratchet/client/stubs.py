"""The raw stub of each service, under the name that both clients give it. Opens no connection."""

from __future__ import annotations

import grpc

from ratchet.v1 import (
    adapter_pb2_grpc,
    containment_pb2_grpc,
    engine_pb2_grpc,
    feedback_pb2_grpc,
    inference_pb2_grpc,
    learning_pb2_grpc,
    rails_pb2_grpc,
)


class Stubs:
    """One stub for each service, over a channel of either kind."""

    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None:
        self.inference: inference_pb2_grpc.InferenceServiceStub = inference_pb2_grpc.InferenceServiceStub(channel)
        self.adapters: adapter_pb2_grpc.AdapterServiceStub = adapter_pb2_grpc.AdapterServiceStub(channel)
        self.feedback: feedback_pb2_grpc.FeedbackServiceStub = feedback_pb2_grpc.FeedbackServiceStub(channel)
        self.containments: containment_pb2_grpc.ContainmentServiceStub = containment_pb2_grpc.ContainmentServiceStub(
            channel
        )
        self.learning: learning_pb2_grpc.LearningServiceStub = learning_pb2_grpc.LearningServiceStub(channel)
        self.engine: engine_pb2_grpc.EngineServiceStub = engine_pb2_grpc.EngineServiceStub(channel)
        self.rails: rails_pb2_grpc.RailServiceStub = rails_pb2_grpc.RailServiceStub(channel)


class AsyncStubs(Stubs):
    """The same over an asyncio channel, whose calls are awaited: only a type checker sees a difference."""

    inference: inference_pb2_grpc.InferenceServiceAsyncStub
    adapters: adapter_pb2_grpc.AdapterServiceAsyncStub
    feedback: feedback_pb2_grpc.FeedbackServiceAsyncStub
    containments: containment_pb2_grpc.ContainmentServiceAsyncStub
    learning: learning_pb2_grpc.LearningServiceAsyncStub
    engine: engine_pb2_grpc.EngineServiceAsyncStub
    rails: rails_pb2_grpc.RailServiceAsyncStub
