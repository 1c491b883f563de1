"""The gRPC server: services, health, reflection, and nothing of what they do."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ratchet.client.channel import MAX_MESSAGE_BYTES
from ratchet.v1 import (
    adapter_pb2,
    adapter_pb2_grpc,
    engine_pb2,
    engine_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    learning_pb2,
    learning_pb2_grpc,
)
from ratchet_server.rpc.drain import Drain
from ratchet_server.rpc.guard import Guard
from ratchet_server.rpc.settings import RpcSettings

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (inference_pb2, "InferenceService"),
        (adapter_pb2, "AdapterService"),
        (feedback_pb2, "FeedbackService"),
        (learning_pb2, "LearningService"),
        (engine_pb2, "EngineService"),
    )
)


class BindRefused(Exception):
    """The address cannot or may not be listened on."""


@dataclass(frozen=True)
class Servicers:
    """One of each service."""

    inference: inference_pb2_grpc.InferenceServiceServicer
    adapters: adapter_pb2_grpc.AdapterServiceServicer
    feedback: feedback_pb2_grpc.FeedbackServiceServicer
    learning: learning_pb2_grpc.LearningServiceServicer
    engine: engine_pb2_grpc.EngineServiceServicer


class RpcServer:
    """Starts NOT_SERVING; say so when it serves."""

    def __init__(self, settings: RpcSettings, servicers: Servicers) -> None:
        """Binds the port.

        Raises:
            BindRefused: not loopback, or taken.
        """
        self._settings = settings
        if not settings.insecure_beyond_loopback and not _loopback(settings.host):
            why = "is not loopback and calls are not authenticated yet: set rpc.host to 127.0.0.1"
            raise BindRefused(f"{settings.host} {why}")
        self._drain = Drain(settings.grace_seconds)
        self._server = grpc.aio.server(
            interceptors=[self._drain, Guard()],
            maximum_concurrent_rpcs=settings.max_concurrent_rpcs,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
                # Long unary calls die of "too many pings" otherwise (vllm-project/vllm#55102).
                ("grpc.http2.max_ping_strikes", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(servicers.inference, self._server)
        adapter_pb2_grpc.add_AdapterServiceServicer_to_server(servicers.adapters, self._server)
        feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(servicers.feedback, self._server)
        learning_pb2_grpc.add_LearningServiceServicer_to_server(servicers.learning, self._server)
        engine_pb2_grpc.add_EngineServiceServicer_to_server(servicers.engine, self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self.port = self._bind()

    def _bind(self) -> int:
        host, port = self._settings.host, self._settings.port
        try:
            return self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise BindRefused(f"cannot listen on {host}:{port}: does another server? Set RATCHET_RPC__PORT") from error

    async def start(self) -> None:
        """Takes calls, as NOT_SERVING."""
        await self.serving(False)
        await self._server.start()

    async def serving(self, yes: bool) -> None:
        """What health checks see."""
        status = health_pb2.HealthCheckResponse.SERVING if yes else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, status)

    async def stop(self) -> None:
        """NOT_SERVING first, new calls are refused, and running ones may finish within the grace time.

        What is left then ends with UNAVAILABLE, reason SERVER_STOPPING. Idempotent.
        """
        await self.serving(False)
        # Longer than the grace time: gRPC's own end of a call tells nobody to retry.
        stopping = asyncio.create_task(self._server.stop(2 * self._settings.grace_seconds + 1))
        await self._drain.wait()
        # Nobody waits for health watches, which never end by themselves.
        await self._server.stop(None)
        await stopping


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
