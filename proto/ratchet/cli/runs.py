"""`ratchet train` and `ratchet runs`: learning runs, over gRPC."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Annotated

import typer

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, short, table
from ratchet.cli.steps import StepBars
from ratchet.client import Ratchet
from ratchet.v1 import learning_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Learning runs and their gate reports.")


def train(
    method: Annotated[str, typer.Option(help="Training method; docs/learning.md compares them.")] = "sft-refusal",
    options: Annotated[
        str,
        typer.Option(
            help='Changes for this run as JSON, e.g. \'{"training": {"rank": 8}, "dataset": {"mix": "refusal"}}\'.'
        ),
    ] = "",
    promote: Annotated[bool, typer.Option("--promote", help="Promote the candidate if the gate says PASS.")] = False,
    watch: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Train an adapter from the reviewed flags and put it before the gate.

    Example:  ratchet train --promote
    """
    request = pb.StartRunRequest(method=method, options_json=options, promote_on_pass=promote, actor=getpass.getuser())
    with Ratchet(address) as client:
        run = client.learning.StartRun(request, timeout=30).run
        if watch:
            run = _follow(client, run.id, quiet=as_json)
    _show(run, as_json)


@app.command()
def watch(run_id: str, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Follow a run to its end; with --json one document per change."""
    with Ratchet(address) as client:
        run = _follow(client, run_id, quiet=as_json, each=print_json if as_json else None)
    if not as_json:
        _show(run, as_json)


def _follow(
    client: Ratchet, run_id: str, *, quiet: bool, each: Callable[[pb.WatchRunResponse], None] | None = None
) -> pb.Run:
    run = pb.Run()
    with StepBars(console, quiet=quiet) as bars:
        for response in client.learning.WatchRun(pb.WatchRunRequest(run_id=run_id)):
            run = response.run
            if each is not None:
                each(response)
            bars.show(run)
    return run


def _show(run: pb.Run, as_json: bool) -> None:
    if as_json:
        print_json(run)
    else:
        console.print(
            f"run [bold]{run.id}[/] {pb.RunState.Name(run.state)[10:]}"
            + (f", adapter {short(run.adapter_digest)}" if run.adapter_digest else "")
            + (f", {run.detail}" if run.detail else "")
        )
        if run.error:
            console.print(run.error, style="red", markup=False)
        if run.report_id:
            console.print(f"report: ratchet runs report {run.id}")
    if run.state == pb.RUN_STATE_FAILED:
        raise typer.Exit(1)


@app.command("list")
def list_(address: Address = DEFAULT_ADDRESS, limit: int = 20, as_json: Json = False) -> None:
    """Runs, newest first."""
    with Ratchet(address) as client:
        response = client.learning.ListRuns(pb.ListRunsRequest(limit=limit), timeout=30)
    if as_json:
        return print_json(response)
    return table(
        "Runs",
        ["id", "method", "state", "step", "adapter", "detail"],
        (
            (
                r.id,
                r.method,
                pb.RunState.Name(r.state)[10:],
                r.step,
                short(r.adapter_digest) if r.adapter_digest else "",
                r.detail,
            )
            for r in response.runs
        ),
    )


@app.command()
def report(run_id: str, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """The gate report of a run; exits with 5 on FAIL and 6 on INCONCLUSIVE."""
    with Ratchet(address) as client:
        gate = client.learning.GetGateReport(pb.GetGateReportRequest(run_id=run_id), timeout=30).report
    if as_json:
        print_json(gate)
    else:
        table(
            f"Gate: {pb.GateOutcome.Name(gate.outcome)[13:]} ({gate.reason})",
            ["axis", "outcome", "champion", "candidate", "difference", "95 % interval", "margin", "items"],
            (
                (
                    a.axis,
                    pb.GateOutcome.Name(a.outcome)[13:],
                    f"{a.champion:.3f}",
                    f"{a.candidate:.3f}",
                    f"{a.difference:+.3f}",
                    f"[{a.low:+.3f}, {a.high:+.3f}]",
                    f"{a.margin:.3f}",
                    a.items,
                )
                for a in gate.axes
            ),
        )
    codes: dict[int, int] = {pb.GATE_OUTCOME_FAIL: 5, pb.GATE_OUTCOME_INCONCLUSIVE: 6}
    if gate.outcome in codes:
        raise typer.Exit(codes[gate.outcome])
