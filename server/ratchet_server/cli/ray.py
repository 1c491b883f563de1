"""`ratchet ray`: servers as replicas on Ray Serve, behind its gRPC proxy."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import typer
from rich.console import Console

from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, StateDir, from_options


def ray(
    config: Config = None,
    state_dir: StateDir = None,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas to begin with, and the least.")] = 1,
    max_replicas: Annotated[int, typer.Option(min=0, help="Most replicas; 0: as many as to begin with.")] = 0,
    target: Annotated[float, typer.Option(min=0.1, help="Requests per replica that autoscaling aims at.")] = 32.0,
    cpus: Annotated[float, typer.Option(min=0, help="CPUs that Ray reserves for each replica.")] = 2.0,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs that Ray reserves for each replica.")] = 0.0,
    port: Annotated[int, typer.Option(min=1, max=65535, help="gRPC port. Ray binds it on EVERY interface.")] = 50051,
    http_port: Annotated[int, typer.Option(min=1, max=65535, help="Ray's own HTTP port, on loopback.")] = 8000,
    address: Annotated[str, typer.Option(help="A running Ray cluster, e.g. auto; empty: one on this machine.")] = "",
) -> None:
    """Run servers on Ray Serve; needs the extra ray-serve. Ctrl-C takes the application down.

    Example:  ratchet ray --replicas 2 --max-replicas 4 --target 16
    """
    console = Console(stderr=True)
    with explained():
        from_options(config, None, None, state_dir)
        try:
            from ratchet_server.ray_serve import application
        except ImportError as error:
            console.print(f"[bold red]{error}[/]: pip install 'ratchet-llm[ray-serve]'")
            raise typer.Exit(1) from None
        options = application.Options(
            min_replicas=replicas,
            max_replicas=max_replicas or replicas,
            target_ongoing_requests=target,
            cpus=cpus,
            gpus=gpus,
        )
        console.print("[dim]·[/] starting Ray Serve; each replica loads the model")
        with application.deployed(options, port=port, http_port=http_port, address=address):
            console.print(f"[bold green]ready[/]  {replicas} replicas on 127.0.0.1:{port} (Ctrl-C stops)")
            stop = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop.set())
            stop.wait()
            console.print("[dim]·[/] draining")
