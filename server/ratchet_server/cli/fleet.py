"""`ratchet fleet`: the servers on this database, and `ratchet health`: whether one of them takes traffic."""

from __future__ import annotations

from typing import Annotated

import typer

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, table
from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, StateDir, from_options

_COLOURS = {"serving": "green", "joining": "yellow", "drained": "red", "lost": "dim"}


def fleet(config: Config = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """List the servers on this database: which take traffic, and why the others do not.

    Example:  RATCHET_REGISTRY__URL=postgresql://... ratchet fleet
    """
    with explained():
        from ratchet_adapters.registry import Registry

        settings = from_options(config, None, None, state_dir)
        with Registry.open(settings.registry.database_url(settings.state_dir)) as registry:
            servers = registry.servers()
    if as_json:
        print_json(
            [
                {"id": s.id, "name": s.name, "state": str(s.state), "why": s.why, "since": s.registered_at.isoformat()}
                for s in servers
            ]
        )
        return
    rows = [
        (s.name, f"[{_COLOURS[s.state]}]{s.state}[/]", f"{s.registered_at:%Y-%m-%d %H:%M:%S}", s.why) for s in servers
    ]
    table("servers", ("server", "state", "up since (UTC)", "why"), rows)


def health(
    address: Address = DEFAULT_ADDRESS,
    alive: Annotated[bool, typer.Option("--alive", help="Ask only whether the process answers.")] = False,
) -> None:
    """Ask a server whether it takes traffic; exits with 1 if not. For health checks of containers.

    Example:  ratchet health --address 127.0.0.1:50051
    """
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        with grpc.insecure_channel(address) as channel:
            request = health_pb2.HealthCheckRequest(service="ratchet.alive" if alive else "")
            status = health_pb2_grpc.HealthStub(channel).Check(request, timeout=3).status
    except grpc.RpcError as error:
        console.print(f"[red]no answer[/] from {address}: {error.code().name}")
        raise typer.Exit(1) from None
    name = health_pb2.HealthCheckResponse.ServingStatus.Name(status)
    console.print(f"{address}: {name}")
    raise typer.Exit(0 if status == health_pb2.HealthCheckResponse.SERVING else 1)
