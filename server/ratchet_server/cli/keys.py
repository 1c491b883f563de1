"""`ratchet keys`: key pairs for signing, made and kept offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ratchet.cli.output import Json, console, print_json
from ratchet_server.cli.failures import explained

app = typer.Typer(no_args_is_help=True, help="Key pairs for signing adapters and receipts.")
Password = Annotated[
    str, typer.Option(envvar="RATCHET_KEY_PASSWORD", help="Of the private key; empty: it is not encrypted.")
]


@app.callback()
def _keys() -> None:
    """Key pairs for signing adapters and receipts."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Files are NAME.key.pem (private) and NAME.pub.pem.")],
    out: Annotated[Path, typer.Option(help="Folder of both files.")] = Path("."),
    kind: Annotated[
        str, typer.Option(help="'ed25519', or 'ecdsa' for OpenSSF model-signing bundles (without a password).")
    ] = "ed25519",
    password: Password = "",
    as_json: Json = False,
) -> None:
    """Make a key pair. Keep the private key off the server that verifies; hand out the public one.

    Example:  ratchet keys new release --out ./keys
    """
    if kind not in ("ed25519", "ecdsa"):
        raise typer.BadParameter("it is ed25519 or ecdsa", param_hint="--kind")
    if not name or Path(name).name != name or name.startswith("."):
        raise typer.BadParameter("it is a plain file name", param_hint="NAME")
    if kind == "ecdsa" and password:
        raise typer.BadParameter("an ecdsa key has none here", param_hint="--password")
    private, public = out / f"{name}.key.pem", out / f"{name}.pub.pem"
    key_id = ""
    with explained():
        from ratchet_adapters.provenance.keys import new_keys
        from ratchet_adapters.provenance.openssf import new_ecdsa_keys

        if kind == "ed25519":
            key_id = new_keys(private, public, password=password)
        else:
            new_ecdsa_keys(private, public)
    if as_json:
        return print_json({"private": str(private), "public": str(public), "key_id": key_id, "kind": kind})
    console.print(f"private: {private}\npublic:  {public}", soft_wrap=True)
    if key_id:
        console.print(f"id:      {key_id}", soft_wrap=True)
    return None
