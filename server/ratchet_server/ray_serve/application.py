"""One whole Ratchet server per replica. Several replicas are several servers on one database, as anywhere else.

Must not know what any service does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import grpc
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from ratchet.client.channel import MAX_MESSAGE_BYTES
from ratchet_adapters.cluster.opening import opened
from ratchet_adapters.cluster.settings import RaySettings
from ratchet_server.ray_serve.forwarding import SERVICER_FUNCTIONS, with_every_method

__all__ = ["Options", "build", "deployed"]


class Options(BaseModel):
    """The application's arguments: how many replicas, and what each one needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: float = Field(
        default=32, gt=0, description="requests in flight or queued per replica that autoscaling aims at"
    )
    max_ongoing_requests: int = Field(default=256, ge=1, description="over this a replica takes no more; others do")
    cpus: float = Field(default=2, ge=0, description="CPUs that Ray reserves for each replica")
    gpus: float = Field(default=0, ge=0, description="GPUs that Ray reserves for each replica")
    upscale_seconds: float = Field(default=5, ge=0, description="how long the queue must be long before one is added")
    downscale_seconds: float = Field(default=600, ge=0, description="how long it must be short before one goes")


@with_every_method
class Server:
    """A replica. Its gRPC server is on loopback, on a port of its own, and Ray's proxy is what clients see."""

    async def __init__(self) -> None:  # type: ignore[misc]
        """Starts the server.

        Raises:
            What `ratchet serve` refuses to start with: Ray shows it in the application's status.
        """
        from ratchet_server.app import running
        from ratchet_server.settings import load

        settings = load()
        settings = settings.model_copy(
            update={
                "rpc": settings.rpc.model_copy(update={"host": "127.0.0.1", "port": 0}),
                "observability": settings.observability.model_copy(update={"metrics_port": 0}),
            }
        )
        self._stack = AsyncExitStack()
        app = await self._stack.enter_async_context(running(settings))
        limit = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        self.channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(app.address, options=limit))
        self.metrics_url = app.exporter.url
        self._address = app.address

    async def check_health(self) -> None:
        """Raises when the server in this process answers no more; Ray then replaces the replica."""
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        request = health_pb2.HealthCheckRequest(service="ratchet.alive")
        await health_pb2_grpc.HealthStub(self.channel).Check(request, timeout=5)

    async def __del__(self) -> None:
        """Drains and stops the server."""
        await self._stack.aclose()


def build(args: Options) -> Any:
    """Return the application, for `import_path: ratchet_server.ray_serve.application:build` of a Serve config file."""
    # The replicas inherit the settings of whoever deploys them; a cluster's own come through its runtime environment.
    settings = {name: value for name, value in os.environ.items() if name.startswith("RATCHET_")}
    # A training finds its models prepared; a replica may have to fetch its own.
    settings["HF_HUB_OFFLINE"] = os.environ.get("HF_HUB_OFFLINE", "0")
    deployment = serve.deployment(
        Server,
        name="ratchet",
        ray_actor_options={"num_cpus": args.cpus, "num_gpus": args.gpus, "runtime_env": {"env_vars": settings}},
        max_ongoing_requests=args.max_ongoing_requests,
        graceful_shutdown_timeout_s=60,
        health_check_timeout_s=60,
        autoscaling_config={
            "min_replicas": args.min_replicas,
            "max_replicas": args.max_replicas,
            "initial_replicas": args.min_replicas,
            "target_ongoing_requests": args.target_ongoing_requests,
            "upscale_delay_s": args.upscale_seconds,
            "downscale_delay_s": args.downscale_seconds,
        },
    )
    return deployment.bind()


@contextmanager
def deployed(options: Options, *, port: int, http_port: int, address: str = "") -> Iterator[None]:
    """Within the block the application runs on Ray Serve, behind its gRPC proxy.

    Args:
        options: The application's arguments.
        port: Of the gRPC proxy. Ray binds it on every interface of the machine.
        http_port: Of Ray's HTTP proxy, on loopback; it serves nothing.
        address: Of a running cluster, e.g. "auto"; "" starts a small one on this machine, on loopback.

    Raises:
        ClusterUnavailable: The cluster could not be started or reached.
    """
    cluster = RaySettings(
        address=address, workers=options.max_replicas, cpus_per_worker=options.cpus, gpus_per_worker=options.gpus
    )
    with opened(cluster):
        from ray.serve.config import HTTPOptions, gRPCOptions

        try:
            serve.start(
                http_options=HTTPOptions(host="127.0.0.1", port=http_port),
                grpc_options=gRPCOptions(port=port, grpc_servicer_functions=list(SERVICER_FUNCTIONS)),
            )
            serve.run(build(options), name="ratchet", route_prefix=None)
            yield
        finally:
            serve.shutdown()
