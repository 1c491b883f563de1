"""The gRPC server: services, health, reflection, and nothing of what they do."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import dataclass, field

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ratchet.client.channel import MAX_MESSAGE_BYTES
from ratchet.v1 import (
    adapter_pb2,
    adapter_pb2_grpc,
    containment_pb2,
    containment_pb2_grpc,
    engine_pb2,
    engine_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    learning_pb2,
    learning_pb2_grpc,
    rails_pb2,
    rails_pb2_grpc,
)
from ratchet_server.access.door import Door
from ratchet_server.rpc.drain import Drain
from ratchet_server.rpc.guard import Guard
from ratchet_server.rpc.settings import RpcSettings
from ratchet_server.rpc.tls import Certificates

SERVICES = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (inference_pb2, "InferenceService"),
        (adapter_pb2, "AdapterService"),
        (feedback_pb2, "FeedbackService"),
        (learning_pb2, "LearningService"),
        (engine_pb2, "EngineService"),
        (rails_pb2, "RailService"),
        (containment_pb2, "ContainmentService"),
    )
)

ALIVE = "ratchet.alive"
"""A service of health checks only: SERVING as long as the process answers, whether or not it takes traffic."""

_LAST_WORDS_S = 1.0


class BindRefused(Exception):
    """The address cannot or may not be listened on."""


@dataclass(frozen=True)
class Servicers:
    """One of each service; those that are left out are not implemented."""

    inference: inference_pb2_grpc.InferenceServiceServicer
    adapters: adapter_pb2_grpc.AdapterServiceServicer
    feedback: feedback_pb2_grpc.FeedbackServiceServicer
    learning: learning_pb2_grpc.LearningServiceServicer
    engine: engine_pb2_grpc.EngineServiceServicer
    rails: rails_pb2_grpc.RailServiceServicer = field(default_factory=rails_pb2_grpc.RailServiceServicer)
    containments: containment_pb2_grpc.ContainmentServiceServicer = field(
        default_factory=containment_pb2_grpc.ContainmentServiceServicer
    )


class RpcServer:
    """Starts NOT_SERVING; say so when it serves."""

    def __init__(
        self, settings: RpcSettings, servicers: Servicers, door: Door, certificates: Certificates | None = None
    ) -> None:
        """Binds the port; `certificates` None: without TLS.

        Raises:
            BindRefused: open to others than this machine without TLS or without credentials, or taken.
        """
        self._settings = settings
        self._certificates = certificates
        if not settings.insecure_beyond_loopback and not _loopback(settings.host):
            if certificates is None:
                why = "is not loopback and calls would not be encrypted: set rpc.tls, or rpc.host to 127.0.0.1"
                raise BindRefused(f"{settings.host} {why}")
            if not door.required:
                why = "is not loopback and anybody could call: set access.required to true"
                raise BindRefused(f"{settings.host} {why}")
        self._drain = Drain(settings.grace_seconds)
        self._server = grpc.aio.server(
            interceptors=[self._drain, Guard(door)],
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
        rails_pb2_grpc.add_RailServiceServicer_to_server(servicers.rails, self._server)
        containment_pb2_grpc.add_ContainmentServiceServicer_to_server(servicers.containments, self._server)
        self.is_serving = False
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        self.port = self._bind()

    def _bind(self) -> int:
        host, port = self._settings.host, self._settings.port
        try:
            if self._certificates is None:
                return self._server.add_insecure_port(f"{host}:{port}")
            return self._server.add_secure_port(f"{host}:{port}", self._certificates.grpc_credentials())
        except RuntimeError as error:
            raise BindRefused(f"cannot listen on {host}:{port}: does another server? Set RATCHET_RPC__PORT") from error

    async def start(self) -> None:
        """Takes calls, as NOT_SERVING."""
        # Who restarts what has hung must not restart what only takes no traffic now.
        await self._health.set(ALIVE, health_pb2.HealthCheckResponse.SERVING)
        await self.serving(False)
        await self._server.start()

    async def serving(self, yes: bool) -> None:
        """What health checks see."""
        self.is_serving = yes
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
        # What was ended is told so before the connection goes; health watches, which never end by themselves, are not
        # waited for.
        await asyncio.wait({stopping}, timeout=_LAST_WORDS_S)
        await self._server.stop(None)
        await stopping


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
