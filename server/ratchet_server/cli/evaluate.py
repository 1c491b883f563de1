"""`ratchet eval`: suites through a running server, before anybody asks the gate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, print_json, table
from ratchet_server.cli.adapter_name import adapter_digest
from ratchet_server.cli.failures import explained
from ratchet_server.cli.threads import share_cores

if TYPE_CHECKING:
    from ratchet_adapters.evals.result import EvalResult


def evaluate(
    adapter: Annotated[str, typer.Option(help="Alias, digest or its first 12 hex digits, or 'base'.")] = "base",
    suite: Annotated[
        list[str] | None, typer.Option(help="Suite name, or NAME=PATH for a public set in a local file; repeatable.")
    ] = None,
    rails: Annotated[str, typer.Option(help="Rail profile; 'off' measures the model alone.")] = "off",
    out: Annotated[Path | None, typer.Option(help="Keep every item's answer in this JSON file.")] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Evaluate an adapter, or the base model, in the serving engine at the lowest priority.

    Example:  ratchet eval --adapter 3fa9c1d2e4b5 --suite seed-harmful --suite xstest=./xstest.csv
    """
    with explained():
        share_cores()
        result = asyncio.run(_evaluate(address, adapter, suite or [], rails))
        if out:
            out.write_text(result.to_json(), encoding="utf-8")
    from ratchet_adapters.evals.metrics import headline

    metrics = headline(result)
    failures = {s.suite: s.failure for s in result.suites if s.failure}
    if as_json:
        print_json({"adapter": adapter, "rails": rails, "metrics": metrics, "failures": failures})
    else:
        table(f"{adapter} · rails {rails}", ["metric", "value"], ((k, f"{v:.4f}") for k, v in metrics.items()))
        for name, why in failures.items():
            Console(stderr=True).print(f"[red]{name} failed[/]: {why}")
    if failures:
        raise typer.Exit(1)


async def _evaluate(address: str, adapter: str, names: list[str], rails: str) -> EvalResult:
    from ratchet_adapters.evals.judges.defaults import default_judges
    from ratchet_adapters.evals.remote import RemoteTarget
    from ratchet_adapters.evals.runner import evaluate as run
    from ratchet_adapters.evals.suites.registry import load_suite
    from ratchet_adapters.evals.suites.seed import seed_suites

    adapter = await adapter_digest(address, adapter)
    suites = [load_suite(*name.split("=", 1)) for name in names] or list(seed_suites())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with RemoteTarget(address, rail_profile=rails) as target:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("evaluating", total=None)

            def advance(done: int, total: int, axis: str) -> None:
                progress.update(task, completed=done, total=total, description=axis)

            return await run(target, adapter, suites, default_judges(), on_progress=advance)
