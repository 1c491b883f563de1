"""`ratchet rollouts`: put an adapter into service step by step, over gRPC."""

from __future__ import annotations

import getpass
import math
from pathlib import Path
from typing import Annotated

import typer

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, short, table
from ratchet.client import Ratchet
from ratchet.v1 import adapter_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Shadow, canary, champion on probation: step by step, and back by itself.")


@app.command()
def start(
    adapter: Annotated[str, typer.Argument(help="Digest (a prefix of 12 hex digits will do).")],
    plan: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON file; the server's plan without it.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Kept in the ledger.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Begin a rollout of an adapter with a PASS against the present champion. `ratchet adapters rollback` ends it.

    Example:  ratchet rollouts start 3f9ac01b77de --plan careful.json
    """
    request = pb.BeginRolloutRequest(
        adapter=adapter,
        actor=getpass.getuser(),
        reason=reason,
        plan_json=plan.read_text(encoding="utf-8") if plan else "",
    )
    with Ratchet(address) as client:
        response = client.adapters.BeginRollout(request, timeout=300)
    if as_json:
        return print_json(response)
    found = response.rollout
    return console.print(f"rollout [bold]{found.id}[/] of {short(found.candidate)}: {found.step_kind}")


@app.command()
def show(
    rollout: Annotated[str, typer.Argument(help="Its id; the one under way, or the newest, without it.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """A rollout, what its step shows and what it waits for."""
    with Ratchet(address) as client:
        response = client.adapters.GetRollout(pb.GetRolloutRequest(rollout_id=rollout), timeout=30)
    if as_json:
        return print_json(response)
    if not response.HasField("rollout"):
        return console.print("there has been no rollout")
    found = response.rollout
    console.print(
        f"[bold]{found.id}[/]: {short(found.candidate)} against {short(found.champion)}, by {found.requested_by}"
    )
    console.print(
        f"{found.outcome}: {found.reason}"
        if found.outcome
        else f"step {found.step + 1} ({found.step_kind}) · {response.says}: {response.why}",
        markup=False,
    )
    return table(
        "What the step shows",
        ["metric", "champion before", "candidate", "evidence of worse (alarm at)", "within its margin (shown at)"],
        (
            (
                f.metric,
                f"{f.control_events} of {f.control_trials}",
                f"{f.candidate_events} of {f.candidate_trials}",
                f"{_odds(f.worse)} ({_odds(f.alarm_at)})",
                f"{_odds(f.within)} ({_odds(f.shown_at)})" if f.HasField("within") else "alarm only",
            )
            for f in response.figures
        ),
    )


@app.command("list")
def list_(address: Address = DEFAULT_ADDRESS, limit: int = 50, as_json: Json = False) -> None:
    """All rollouts, newest first."""
    with Ratchet(address) as client:
        response = client.adapters.ListRollouts(pb.ListRolloutsRequest(limit=limit), timeout=30)
    if as_json:
        return print_json(response)
    return table(
        "Rollouts",
        ["id", "candidate", "step", "outcome", "by", "reason"],
        (
            (r.id, short(r.candidate), r.step_kind, r.outcome or "under way", r.requested_by, r.reason[:80])
            for r in response.rollouts
        ),
    )


def _odds(log_evidence: float) -> str:
    return f"{math.exp(min(log_evidence, 700.0)):.3g}"
