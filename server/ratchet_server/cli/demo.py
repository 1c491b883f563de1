"""`ratchet demo`: the whole loop on this machine, with a report at the end."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ratchet.cli.output import Json, console, print_json, table
from ratchet_server.cli.failures import explained
from ratchet_server.cli.signals import on_stop
from ratchet_server.cli.threads import share_cores

if TYPE_CHECKING:
    from ratchet_server.demo.loop import Story

# What the demo's server is given beyond the defaults; shown so that nothing is hidden.
ENVIRONMENT = {"RATCHET_EVAL_MAX_TOKENS": "24", "RATCHET_SAMPLING__MAX_TOKENS": "64"}


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("demo-report"),
    harmful: Annotated[int, typer.Option(min=50, help="Harmful requests in the traffic that is learned from.")] = 640,
    keep: Annotated[bool, typer.Option(help="Keep the scratch folder with database, adapters and log.")] = False,
    as_json: Json = False,
) -> None:
    """Serve, flag, learn, prove, promote, roll back: real parts, real traffic, about ten minutes on two cores.

    Exits with 1 if the gate does not say PASS or any promise was broken.
    """
    with explained():
        share_cores()
        from ratchet_server.demo import figures, page

        progress = Console(stderr=as_json)
        scratch = Path(tempfile.mkdtemp(prefix="ratchet-demo-"))
        try:
            story = asyncio.run(_tell(scratch, progress, harmful))
        except asyncio.CancelledError:
            progress.print("stopped")
            raise typer.Exit(130) from None
        finally:
            if keep:
                progress.print(f"state and log: {scratch}")
            else:
                shutil.rmtree(scratch, ignore_errors=True)
        report = figures.figures(story)
        written = page.write(out, story, report)
        wrong = figures.succeeded(report)
    if as_json:
        print_json(report)
    else:
        _print(report, written, wrong)
    raise typer.Exit(1 if wrong else 0)


def _print(report: dict[str, object], written: Path, wrong: list[str]) -> None:
    from ratchet_server.demo.page import rows

    table("Model alone, rails off, held-out suites", ["", "before", "after", "change"], rows(report))
    traffic, rails = report["traffic"], report["with_rails"]
    assert isinstance(traffic, dict)
    assert isinstance(rails, dict)
    console.print(f"with rails: {rails}")
    counts = f"{traffic['requests']} requests, {traffic['failed']} failed, {traffic['mixed_adapter']} mixing adapters"
    console.print(f"traffic: {counts}")
    swaps = f"promotion {report['swap_seconds']} s, rollback {report['rollback_seconds']} s"
    console.print(f"{swaps}, total {report['seconds']:.0f} s")
    for line in wrong:
        console.print(f"[bold red]not kept[/]: {line}")
    console.print(f"report: [bold]{written}[/]", soft_wrap=True)


async def _tell(scratch: Path, progress: Console, harmful: int) -> Story:
    import os

    from ratchet.client import AsyncRatchet
    from ratchet_server.demo.crowd import Crowd
    from ratchet_server.demo.deployment import deployment
    from ratchet_server.demo.loop import Loop

    os.environ.update(ENVIRONMENT)
    told = asyncio.current_task()
    assert told is not None
    # What was started is stopped however the demo ends.
    on_stop(told.cancel)
    progress.print("starting [bold]ratchet up[/] on free loopback ports")
    async with deployment(scratch, ENVIRONMENT) as server, AsyncRatchet(server.address) as client:
        progress.print(f"serving on {server.address}, metrics on {server.metrics}")
        return await Loop(server, client, Crowd(server.address, max_tokens=48), progress, harmful=harmful).tell()
