"""`ratchet eval`: suites through a running server, before anybody asks the gate."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
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
    from ratchet_adapters.evals.corrected import CorrectedRate
    from ratchet_adapters.evals.result import EvalResult


def evaluate(
    adapter: Annotated[str, typer.Option(help="Alias, digest or its first 12 hex digits, or 'base'.")] = "base",
    suite: Annotated[
        list[str] | None, typer.Option(help="Suite name, or NAME=PATH for a public set in a local file; repeatable.")
    ] = None,
    rails: Annotated[str, typer.Option(help="Rail profile; 'off' measures the model alone.")] = "off",
    out: Annotated[Path | None, typer.Option(help="Keep every item's answer in this JSON file.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps answers: an evaluation that was stopped goes on from it.")
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(help="Of the judge, by `ratchet judges calibrate`, beside those shipped; repeatable."),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Evaluate an adapter, or the base model, in the serving engine at the lowest priority.

    Refusal rates are shown as judged and as corrected for the judge's measured error (Rogan-Gladen, 95 % interval).

    Example:  ratchet eval --adapter 3fa9c1d2e4b5 --suite seed-harmful --suite xstest=./xstest.csv
    """
    with explained():
        share_cores()
        from ratchet_adapters.evals.corrected import corrected_rates
        from ratchet_adapters.evals.judges.calibration import Calibration, shipped_calibrations

        given = [Calibration.read(file.read_text(encoding="utf-8"), str(file)) for file in calibration or []]
        result = asyncio.run(_evaluate(address, adapter, suite or [], rails, cache))
        rates = corrected_rates(result, [*shipped_calibrations(), *given])
        if out:
            out.write_text(result.to_json(), encoding="utf-8")
    from ratchet_adapters.evals.metrics import headline

    metrics = headline(result)
    failures = {s.suite: s.failure for s in result.suites if s.failure}
    if as_json:
        corrected = [asdict(rate) for rate in rates]
        print_json(
            {"adapter": adapter, "rails": rails, "metrics": metrics, "corrected": corrected, "failures": failures}
        )
    else:
        table(f"{adapter} · rails {rails}", ["metric", "value"], ((k, f"{v:.4f}") for k, v in metrics.items()))
        if rates:
            table(
                "corrected for the judge's error",
                ["suite", "metric", "judged (95 %)", "corrected (95 %)", "as on its worst and best group"],
                ((r.suite, r.metric, *_cells(r)) for r in rates),
            )
        for why in dict.fromkeys(rate.rate.why for rate in rates if rate.rate.why):
            Console(stderr=True).print(f"[yellow]not corrected, or doubtful[/]: {why}", soft_wrap=True)
        for name, why in failures.items():
            Console(stderr=True).print(f"[red]{name} failed[/]: {why}")
    if failures:
        raise typer.Exit(1)


async def _evaluate(address: str, adapter: str, names: list[str], rails: str, cache: Path | None) -> EvalResult:
    from ratchet_adapters.evals.cache import EvalCache
    from ratchet_adapters.evals.judges.defaults import default_judges
    from ratchet_adapters.evals.remote import RemoteTarget
    from ratchet_adapters.evals.runner import evaluate as run
    from ratchet_adapters.evals.suites.registry import load_suite
    from ratchet_adapters.evals.suites.seed import seed_suites

    adapter = await adapter_digest(address, adapter)
    suites = [load_suite(*name.split("=", 1)) for name in names] or list(seed_suites())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with RemoteTarget(address, rail_profile=rails) as target:
        kept = None
        if cache:
            if rails != "off":
                raise typer.BadParameter("answers through rails are not kept; leave it out", param_hint="--cache")
            kept = EvalCache(cache, base_fingerprint=await target.base_fingerprint())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("evaluating", total=None)

            def advance(done: int, total: int, axis: str) -> None:
                progress.update(task, completed=done, total=total, description=axis)

            return await run(target, adapter, suites, default_judges(), on_progress=advance, cache=kept)


def _cells(found: CorrectedRate) -> tuple[str, str, str]:
    rate = found.rate
    judged = f"{rate.raw:.1%} ({rate.raw_low:.1%} to {rate.raw_high:.1%})"
    if rate.value is None or rate.low is None or rate.high is None:
        return judged, "-", "-"
    spread = "-" if found.lowest is None or found.highest is None else f"{found.lowest:.1%} to {found.highest:.1%}"
    return judged, f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})", spread
