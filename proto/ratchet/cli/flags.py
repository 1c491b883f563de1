"""`ratchet flags`: claims about what the model said, and their review, over gRPC."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from ratchet.cli import containments, flag_lines
from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, print_json, table
from ratchet.client import Ratchet
from ratchet.v1 import feedback_pb2 as pb
from ratchet.v1 import inference_pb2

app = typer.Typer(no_args_is_help=True, help="Submit, import, list, review and contain flags.")
app.command("contain")(containments.contain)
app.command("contained")(containments.contained)
app.command("release")(containments.release)
KINDS = ("HARMFUL", "TOXIC", "OVER_REFUSAL", "BIAS", "OTHER")
Kind = Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")]


def _kind(name: str) -> pb.FlagKind.ValueType:
    if not name:
        return pb.FLAG_KIND_UNSPECIFIED
    if name.upper() not in KINDS:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(KINDS)}")
    return pb.FlagKind.Value(f"FLAG_KIND_{name.upper()}")


@app.command()
def submit(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")],
    request_id: Annotated[str, typer.Option(help="From the receipt of the answer.")] = "",
    prompt: Annotated[str, typer.Option(help="The prompt, when the answer was not served here.")] = "",
    completion: str = "",
    note: str = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Flag one exchange. When this returns, the flag is on disk.

    Example:  ratchet flags submit HARMFUL --request-id 3f2a... --note "explains how to pick the lock"
    """
    request = pb.SubmitFlagRequest(
        kind=_kind(kind), request_id=request_id, completion=completion, note=note, principal=getpass.getuser()
    )
    if prompt:
        request.messages.add(role=inference_pb2.ROLE_USER, content=prompt)
    with Ratchet(address) as client:
        response = client.feedback.SubmitFlag(request, timeout=30)
    if as_json:
        return print_json(response)
    return console.print(response.flag_id)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="One JSON object a line.")],
    principal: Annotated[str, typer.Option(help="Who flags, for lines that do not say.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Import flags from a JSONL file.

    A line: {"kind": "HARMFUL", "prompt": "...", "completion": "...", "note": "...", "principal": "alice"}

    Every line is read before one is sent: broken lines are listed by number, the good ones are imported in one
    stream, all or none of them, and the command exits with 4 if a line was broken.
    """
    good, bad = flag_lines.read(file.read_bytes(), principal or getpass.getuser())
    ids: list[str] = []
    if good:
        with Ratchet(address) as client:
            requests = iter(track(good, description="importing", disable=as_json))
            ids = list(client.feedback.SubmitFlags(requests, timeout=600).flag_ids)
    if as_json:
        print_json({"imported": ids, "broken": [{"line": line, "error": why} for line, why in bad]})
    else:
        console.print(f"{len(ids)} flags imported, {len(bad)} broken lines")
        for line, why in bad:
            console.print(f"  line {line}: {why}", markup=False)
    if bad:
        raise typer.Exit(4)


@app.command("list")
def list_(
    state: Annotated[str, typer.Option(help="OPEN, ACCEPTED or REJECTED.")] = "",
    kind: Kind = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Flags, newest first."""
    request = pb.ListFlagsRequest(kind=_kind(kind), page_size=limit)
    if state:
        if state.upper() not in ("OPEN", "ACCEPTED", "REJECTED"):
            raise typer.BadParameter(f"{state!r} is not one of OPEN, ACCEPTED, REJECTED")
        request.state = pb.FlagState.Value(f"FLAG_STATE_{state.upper()}")
    with Ratchet(address) as client:
        response = client.feedback.ListFlags(request, timeout=30)
    if as_json:
        return print_json(response)
    return table(
        "Flags",
        ["id", "kind", "source", "state", "prompt", "note"],
        (
            (
                f.id,
                pb.FlagKind.Name(f.kind)[10:],
                pb.FlagSource.Name(f.source)[12:],
                pb.FlagState.Name(f.state)[11:],
                f.messages[-1].content[:60] if f.messages else "",
                f.note[:40],
            )
            for f in response.flags
        ),
    )


@app.command()
def review(
    flag_id: str,
    decision: Annotated[str, typer.Argument(help="accept or reject")],
    kind: Kind = "",
    note: str = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Decide on one open flag; only accepted flags can train."""
    if decision.lower() not in ("accept", "reject"):
        raise typer.BadParameter(f"{decision!r} is neither accept nor reject")
    request = pb.ReviewFlagRequest(
        flag_id=flag_id,
        decision=pb.ReviewDecision.Value(f"REVIEW_DECISION_{decision.upper()}"),
        kind=_kind(kind),
        reviewer=getpass.getuser(),
        note=note,
    )
    with Ratchet(address) as client:
        response = client.feedback.ReviewFlag(request, timeout=30)
    if as_json:
        return print_json(response)
    return console.print(f"{flag_id} {pb.FlagState.Name(response.flag.state)[11:].lower()}")
