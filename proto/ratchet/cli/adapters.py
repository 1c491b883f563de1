"""`ratchet adapters`: what ops do with adapters, over gRPC."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, short, table
from ratchet.client import Ratchet
from ratchet.v1 import adapter_pb2 as pb

app = typer.Typer(no_args_is_help=True, help="List, upload, promote and roll back adapters.")
CHUNK_BYTES = 1024 * 1024
Name = Annotated[str, typer.Argument(help="Digest (a prefix of 12 hex digits will do) or alias.")]
Reason = Annotated[str, typer.Option(help="Kept in the ledger.")]


@app.command("list")
def list_(address: Address = DEFAULT_ADDRESS, limit: int = 50, as_json: Json = False) -> None:
    """All adapters, newest first."""
    with Ratchet(address) as client:
        response = client.adapters.List(pb.ListRequest(limit=limit), timeout=30)
    if as_json:
        return print_json(response)
    return table(
        "Adapters",
        ["digest", "name", "rank", "stage", "aliases", "proven", "routable", "by", "run"],
        (
            (
                short(a.digest),
                a.name,
                a.rank,
                a.stage,
                ", ".join(a.aliases),
                f"{a.proof.mean_delta:.2f} nats" if a.HasField("proof") else "no",
                "yes" if a.routable else "no",
                a.created_by,
                a.run_id,
            )
            for a in response.adapters
        ),
    )


@app.command()
def get(adapter: Name, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """One adapter, whole."""
    with Ratchet(address) as client:
        response = client.adapters.Get(pb.GetRequest(adapter=adapter), timeout=30)
    if as_json:
        return print_json(response)
    return console.print(response.adapter)


def _parts(folder: Path, name: str) -> Iterator[pb.RegisterRequest]:
    yield pb.RegisterRequest(header=pb.RegisterHeader(name=name))
    for file in sorted(p for p in folder.iterdir() if p.is_file()):
        with file.open("rb") as stream:
            while data := stream.read(CHUNK_BYTES):
                yield pb.RegisterRequest(chunk=pb.FileChunk(name=file.name, data=data))


@app.command()
def register(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="PEFT adapter folder (safetensors).")],
    name: Annotated[str, typer.Option(help="A label; the digest is the identity.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Upload an adapter: it is validated, loaded and proven in the engine, and routed to nobody.

    Example:  ratchet adapters register ./my-adapter --name refusals-v2
    """
    with Ratchet(address) as client:
        response = client.adapters.Register(_parts(folder, name or folder.resolve().name), timeout=300)
    if as_json:
        return print_json(response)
    return console.print(
        f"{'registered' if response.created else 'known already'}: [bold]{response.adapter.digest}[/] "
        f"(moves log-probabilities by {response.adapter.proof.mean_delta:.2f} nats)"
    )


@app.command()
def promote(
    adapter: Name,
    address: Address = DEFAULT_ADDRESS,
    expected_champion: Annotated[str, typer.Option(help="Refuse unless this is the champion now.")] = "",
    reason: Reason = "",
    as_json: Json = False,
) -> None:
    """Make an adapter the champion; needs its PASS report against the present one."""
    request = pb.PromoteRequest(
        adapter=adapter, expected_champion=expected_champion, reason=reason, actor=getpass.getuser()
    )
    with Ratchet(address) as client:
        response = client.adapters.Promote(request, timeout=120)
    _print_swap(response, as_json)


@app.command()
def approve(adapter: Name, address: Address = DEFAULT_ADDRESS, reason: Reason = "", as_json: Json = False) -> None:
    """Approve an adapter's promotion on its newest PASS; whoever asked for it cannot.

    Example:  ratchet adapters approve 3f9ac01b77de --reason "looked at every flip"
    """
    request = pb.ApproveRequest(adapter=adapter, approver=getpass.getuser(), reason=reason)
    with Ratchet(address) as client:
        response = client.adapters.Approve(request, timeout=30)
    if as_json:
        print_json(response)
    else:
        console.print(f"approved: [bold]{short(response.adapter.digest)}[/] ({response.adapter.stage})")


@app.command()
def rollback(address: Address = DEFAULT_ADDRESS, reason: Reason = "", as_json: Json = False) -> None:
    """Take the newest thing out of service, at once: a candidate in shadow or canary, else the champion."""
    with Ratchet(address) as client:
        response = client.adapters.Rollback(pb.RollbackRequest(actor=getpass.getuser(), reason=reason), timeout=120)
    _print_swap(response, as_json)


def _print_swap(response: pb.PromoteResponse | pb.RollbackResponse, as_json: bool) -> None:
    if as_json:
        print_json(response)
    else:
        beside = f"; {response.routing.split}: {short(response.routing.beside)}" if response.routing.split else ""
        console.print(
            f"champion is now [bold]{short(response.routing.champion)}[/] ({response.swap_ms:.0f} ms); "
            f"before it: {short(response.routing.previous)}{beside}"
        )


@app.command()
def traffic(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Who serves what now."""
    with Ratchet(address) as client:
        response = client.adapters.GetTraffic(pb.GetTrafficRequest(), timeout=30)
    if as_json:
        return print_json(response)
    return table(
        f"Traffic (routing version {response.routing.version})",
        ["adapter", "aliases", "requests", "in flight"],
        ((short(a.adapter_digest), ", ".join(a.aliases), a.requests, a.in_flight) for a in response.adapters),
    )
