"""`ratchet serve` and `ratchet up`: the server alone, or with its learner."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ratchet_server.cli.failures import explained
from ratchet_server.cli.signals import on_stop
from ratchet_server.cli.threads import share_cores

if TYPE_CHECKING:
    from ratchet_server.app import App
    from ratchet_server.settings import Settings

Config = Annotated[
    Path | None, typer.Option(envvar="RATCHET_CONFIG", help="YAML file of settings; RATCHET_* variables override it.")
]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="gRPC port; 0 takes a free one.")]
HttpPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of the OpenAI-compatible API; 0 takes a free one, none: off.")
]
MetricsPort = Annotated[int | None, typer.Option(min=0, max=65535, help="Prometheus port; 0 takes a free one.")]
StateDir = Annotated[Path | None, typer.Option(help="Folder of database, artifacts and runs.")]
ReadyFile = Annotated[Path | None, typer.Option(help="Written as JSON, with the addresses, once the server serves.")]

LEARNER_RESTART_SECONDS = 5.0


def serve(
    config: Config = None,
    port: Port = None,
    http_port: HttpPort = None,
    metrics_port: MetricsPort = None,
    state_dir: StateDir = None,
    ready_file: ReadyFile = None,
) -> None:
    """Run the server alone; a learner may run elsewhere on the same database and artifact store.

    Example:  RATCHET_ENGINE__THREADS=2 ratchet serve --port 50051
    """
    with explained():
        asyncio.run(_run(from_options(config, port, metrics_port, state_dir, http_port), ready_file, learner=False))


def up(
    config: Config = None,
    port: Port = None,
    http_port: HttpPort = None,
    metrics_port: MetricsPort = None,
    state_dir: StateDir = None,
    ready_file: ReadyFile = None,
) -> None:
    """Run server and learner on this machine: the embedded default, on SQLite and a local folder.

    Example:  ratchet up --state-dir ./state    # then, elsewhere: ratchet generate "Hello"
    """
    with explained():
        asyncio.run(_run(from_options(config, port, metrics_port, state_dir, http_port), ready_file, learner=True))


def from_options(
    config: Path | None,
    port: int | None,
    metrics_port: int | None,
    state_dir: Path | None,
    http_port: int | None = None,
) -> Settings:
    """Command-line options become the variables a child process reads too."""
    given = {
        "RATCHET_CONFIG": config,
        "RATCHET_RPC__PORT": port,
        "RATCHET_HTTP__PORT": http_port,
        "RATCHET_OBSERVABILITY__METRICS_PORT": metrics_port,
        "RATCHET_STATE_DIR": state_dir and state_dir.resolve(),
    }
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    from ratchet_server.settings import load

    share_cores()
    return load()


async def _run(settings: Settings, ready_file: Path | None, *, learner: bool) -> None:
    from ratchet_server.app import running
    from ratchet_server.observability.logging import configure

    configure(settings.observability)
    console = Console(stderr=True)
    stop = asyncio.Event()
    on_stop(stop.set)
    starting = asyncio.create_task(stop.wait())
    async with AsyncExitStack() as stack:
        entering = asyncio.create_task(
            stack.enter_async_context(running(settings, lambda text: console.print(f"[dim]·[/] {text}")))
        )
        await asyncio.wait({entering, starting}, return_when=asyncio.FIRST_COMPLETED)
        if not entering.done():
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)
            return
        app = entering.result()
        if learner:
            key = await asyncio.to_thread(stack.enter_context, _learner_key(app))
            task = asyncio.create_task(_keep_learner(app, console, key), name="learner")
            stack.push_async_callback(_end, task)
        _announce(app, ready_file)
        if app.http_url:
            console.print(f"[dim]·[/] OpenAI-compatible API on {app.http_url}/v1")
        console.print(f"[bold green]ready[/]  try: ratchet generate --address {app.address} 'Hello'   (Ctrl-C stops)")
        await stop.wait()
        console.print("[dim]·[/] draining")


def _announce(app: App, ready_file: Path | None) -> None:
    if ready_file is None:
        return
    facts = {
        "address": app.address,
        "http": app.http_url,
        "metrics": app.exporter.url,
        "state_dir": str(app.settings.state_dir),
        "pid": os.getpid(),
    }
    scratch = ready_file.with_suffix(".part")
    scratch.write_text(json.dumps(facts))
    scratch.replace(ready_file)


@contextmanager
def _learner_key(app: App) -> Iterator[dict[str, str]]:
    """A key for the learner, as its environment takes it, for as long as it is kept; none where none is needed."""
    if not app.settings.access.required or os.environ.get("RATCHET_API_KEY"):
        yield {}
        return
    from ratchet_adapters.access import KeyStore, NewKey

    keys = KeyStore.open(app.registry)
    key, plain = keys.create(NewKey("learner", ("ops",)), "server")
    try:
        yield {"RATCHET_API_KEY": plain}
    finally:
        keys.revoke(key.id, "server")


async def _keep_learner(app: App, console: Console, key: dict[str, str]) -> None:
    """Runs the learner in a process of its own, at the lowest priority, and starts it again when it dies."""
    environment = (
        os.environ
        | key
        | {
            "RATCHET_LEARNER_SERVER": app.address,
            "RATCHET_STATE_DIR": str(app.settings.state_dir),
        }
    )
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from ratchet.cli import main; main()", "learn", env=environment
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), 15)
                except TimeoutError:
                    process.kill()
                    await process.wait()
            raise
        console.print(
            f"[yellow]learner ended with status {status}; it resumes its run in {LEARNER_RESTART_SECONDS:.0f} s[/]"
        )
        await asyncio.sleep(LEARNER_RESTART_SECONDS)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
