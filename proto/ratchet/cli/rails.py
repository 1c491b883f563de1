"""`ratchet rails`: the rail profiles of a running server, over gRPC."""

from __future__ import annotations

from typing import Annotated

import typer

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, short, table
from ratchet.client import Ratchet
from ratchet.v1 import common_pb2, inference_pb2
from ratchet.v1 import rails_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="Rail profiles: write, check, test, reload, ask.")
_COLOURS = {pb.LOAD_OUTCOME_SWAPPED: "green", pb.LOAD_OUTCOME_REJECTED: "bold red", pb.LOAD_OUTCOME_REMOVED: "yellow"}


@app.command()
def profiles(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """The profiles a server offers, and how many requests hold them.

    Example:  ratchet rails profiles
    """
    with Ratchet(address) as client:
        response = client.rails.ListProfiles(pb.ListProfilesRequest(), timeout=30)
    if as_json:
        return print_json(response)
    return table(
        "Rail profiles",
        ["name", "version", "mode", "input rails", "output rails", "shadow", "in flight", "draining"],
        (
            (
                f"{p.name} (default)" if p.default else p.name,
                short(p.version),
                p.streaming_mode,
                "\n".join(p.input_rails) or "none",
                "\n".join(p.output_rails) or "none",
                "\n".join(p.shadow_rails),
                p.in_flight,
                p.draining,
            )
            for p in response.profiles
        ),
    )


@app.command()
def reload(
    names: Annotated[list[str] | None, typer.Argument(help="Profiles; all of them without it.")] = None,
    drop_missing: Annotated[
        bool, typer.Option("--drop-missing", help="Stop offering profiles whose folder is gone.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Read profiles anew: compiled and tried aside, then swapped; exits with 1 if one is rejected.

    A rejected profile changes nothing: the old one serves on. Requests under way keep the profile they began with.

    Example:  ratchet rails reload bank
    """
    with Ratchet(address) as client:
        request = pb.ReloadProfilesRequest(names=names or [], drop_missing=drop_missing)
        response = client.rails.ReloadProfiles(request, timeout=300)
    if as_json:
        print_json(response)
    else:
        for load in response.loads:
            _print_load(load)
    raise typer.Exit(int(any(load.outcome == pb.LOAD_OUTCOME_REJECTED for load in response.loads)))


def _print_load(load: pb.ProfileLoad) -> None:
    name = pb.LoadOutcome.Name(load.outcome).removeprefix("LOAD_OUTCOME_").lower()
    tried = f", {load.cases} cases passed" if load.cases else ""
    serves = f"{short(load.version)} serves" if load.version else "no longer offered"
    colour = _COLOURS.get(load.outcome, "dim")
    console.print(f"[bold]{load.name}[/]: [{colour}]{name}[/], {serves}{tried} ({load.duration_ms:.0f} ms)")
    if load.problem:
        console.print(f"  {load.problem}", markup=False, soft_wrap=True)


@app.command()
def judge(
    prompt: Annotated[str, typer.Argument(help="What the user says.")],
    answer: Annotated[str | None, typer.Option(help="Judge this answer to it instead of the prompt.")] = None,
    profile: Annotated[str, typer.Option(help="Rail profile; the default one without it.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """What a profile's rails say of a text; generates nothing. Exits with 1 unless the text passes.

    Example:  ratchet rails judge "What is a bond?" --answer "You should buy bonds now." --profile finance
    """
    request = pb.CheckTextRequest(
        rail_profile=profile,
        messages=[inference_pb2.Message(role=inference_pb2.ROLE_USER, content=prompt)],
        answer=answer,
    )
    with Ratchet(address) as client:
        response = client.rails.CheckText(request, timeout=60)
    if as_json:
        print_json(response)
    else:
        _print_decision(response)
    raise typer.Exit(int(response.outcome != common_pb2.OUTCOME_ALLOW))


def _print_decision(response: pb.CheckTextResponse) -> None:
    table(
        f"{_plain(response.outcome)} by {response.rail_profile} ({short(response.policy_version)})",
        ["rail", "verdict", "score", "threshold", "reason", "found", "ms"],
        (
            (
                v.rail,
                f"{_plain(v.outcome)}{' (shadow)' if v.shadow else ''}{' rewrote' if v.rewrote else ''}",
                f"{v.score:.3f}" if v.HasField("score") else "",
                f"{v.threshold:.3f}" if v.HasField("threshold") else "",
                v.reason,
                ", ".join(f"{span.kind} {span.start}-{span.end}" for span in v.spans),
                f"{v.duration_ms:.1f}",
            )
            for v in response.verdicts
        ),
    )
    if response.HasField("rewritten"):
        console.print(f"passes as: {response.rewritten}", markup=False, soft_wrap=True)


def _plain(outcome: common_pb2.Outcome.ValueType) -> str:
    return common_pb2.Outcome.Name(outcome).removeprefix("OUTCOME_")
