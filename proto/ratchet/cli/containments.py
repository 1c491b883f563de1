"""`ratchet flags contain`, `contained` and `release`: the instant rail, over gRPC."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, table
from ratchet.client import Ratchet
from ratchet.v1 import containment_pb2 as pb

__all__ = ["contain", "contained", "release"]


def contain(
    flag_ids: Annotated[list[str], typer.Argument(metavar="FLAG...", help="Accepted flags; see `ratchet flags list`.")],
    tenant: Annotated[str, typer.Option(help="Block only this tenant's requests.")] = "",
    profile: Annotated[str, typer.Option(help="Block only under this rail profile.")] = "",
    hours: Annotated[float, typer.Option(min=0.01, max=2160, help="It ends by itself after this time.")] = 168,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Block repeats of accepted flags, on every server, within seconds.

    A prompt is a repeat if it holds the flagged words, however disguised, or means nearly the same. Blocking rests for
    an adapter that was shown to refuse the prompt, and ends after --hours or by `ratchet flags release`.

    Example:  ratchet flags contain 3f2a... --tenant acme --hours 48
    """
    request = pb.ContainFlagsRequest(
        flag_ids=flag_ids, tenant=tenant, profile=profile, hours=hours, principal=getpass.getuser()
    )
    with Ratchet(address) as client:
        response = client.containments.ContainFlags(request, timeout=30)
    if as_json:
        return print_json(response)
    for made in response.containments:
        console.print(f"{made.id} blocks repeats of {made.flag_id} until {_when(made.expires_at)}")
    return None


def contained(
    over: Annotated[bool, typer.Option("--all", help="Also those that have ended or expired.")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Flags whose repeats are blocked, newest first."""
    with Ratchet(address) as client:
        response = client.containments.ListContainments(pb.ListContainmentsRequest(include_over=over), timeout=30)
    if as_json:
        return print_json(response)
    return table(
        "Contained flags",
        ["id", "flag", "tenant", "profile", "until", "first repeat blocked", "covered by", "ended"],
        (
            (
                c.id,
                c.flag_id,
                c.tenant or "all",
                c.profile or "all",
                _when(c.expires_at),
                _when(c.first_blocked_at) if c.HasField("first_blocked_at") else "none yet",
                c.covered_by[:19],
                c.ended_why if c.HasField("ended_at") else "",
            )
            for c in response.containments
        ),
    )


def release(
    containment_id: Annotated[str, typer.Argument(metavar="CONTAINMENT")],
    why: Annotated[str, typer.Option(help="Goes into the ledger.")] = "released by hand",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Block repeats no longer, before the time is over."""
    request = pb.EndContainmentRequest(id=containment_id, principal=getpass.getuser(), why=why)
    with Ratchet(address) as client:
        response = client.containments.EndContainment(request, timeout=30)
    if as_json:
        return print_json(response)
    return console.print(f"{containment_id} has ended")


def _when(stamp: object) -> str:
    return f"{stamp.ToDatetime():%Y-%m-%d %H:%M} UTC"  # type: ignore[attr-defined]
