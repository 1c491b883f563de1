"""`ratchet score`: toxicity, refusal and triage of a whole log, part by part, by many processes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ratchet.cli.output import Json, console, print_json
from ratchet_server.cli.failures import explained


def score(
    file: Annotated[Path, typer.Argument(help="JSONL or Parquet with prompt and completion, optionally id.")],
    out: Annotated[Path, typer.Option(help="Folder of the scores; a started one is continued.")],
    backend: Annotated[str, typer.Option(help="'local' processes, or 'ray'.")] = "local",
    workers: Annotated[int, typer.Option(min=1, max=1024, help="Processes that score.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each.")] = 1,
    rows_per_part: Annotated[int, typer.Option(min=1, help="Rows of one output file.")] = 10_000,
    address: Annotated[
        str, typer.Option(help="Ray cluster: 'auto' or host:port; empty starts one on this machine.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Score every row of a log: toxicity and refusal of the completion, triage of the prompt.

    The whole file is checked first; a row that does not have the schema is named and nothing is scored. Each part of
    the output is written whole or not at all, so a command that was stopped continues where it was.

    Example:  ratchet score traffic.jsonl --out scores --workers 4
    """
    with explained():
        from pydantic import ValidationError

        from ratchet_adapters.cluster.settings import RaySettings
        from ratchet_adapters.scoring.log import check_log
        from ratchet_adapters.scoring.plan import plan
        from ratchet_adapters.scoring.running import score_locally, score_on_ray

        if backend not in ("local", "ray"):
            raise typer.BadParameter("it is local or ray", param_hint="--backend")
        try:
            cluster = RaySettings(address=address, workers=workers, cpus_per_worker=threads)
        except ValidationError as error:
            raise typer.BadParameter(error.errors()[0]["msg"], param_hint="--address") from None
        chosen = plan(check_log(file.resolve(), rows_per_part), out, threads=threads)
        pending = chosen.pending
        columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        done = 0
        began = time.monotonic()
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=sum(map(chosen.log.rows_of, pending)))

            def on_part(part: int, rows: int) -> None:
                nonlocal done
                done += rows
                progress.update(task, completed=done)

            if backend == "ray":
                score_on_ray(chosen, cluster, on_part)
            else:
                score_locally(chosen, workers, on_part)
        seconds = time.monotonic() - began
    figures = {
        "rows": chosen.log.rows,
        "parts": len(chosen.log.starts),
        "rows_scored_now": done,
        "seconds": round(seconds, 3),
        "rows_per_second": round(done / seconds, 2) if done else None,
        "out": str(chosen.out),
    }
    if as_json:
        print_json(figures)
        return
    there = f"{chosen.log.rows} rows in {len(chosen.log.starts)} parts"
    now = f"{done} scored now, {done / seconds:.1f} rows/s" if done else "all of them were there"
    console.print(f"{there}; {now}: [bold]{chosen.out}[/]", soft_wrap=True)
