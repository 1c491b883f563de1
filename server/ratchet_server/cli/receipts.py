"""`ratchet receipts`: signed receipts, verified offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ratchet.cli.output import Json, console, print_json
from ratchet_server.cli.failures import explained

app = typer.Typer(no_args_is_help=True, help="Signed receipts of answers.")


@app.callback()
def _receipts() -> None:
    """Signed receipts of answers."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The signed receipt: a DSSE envelope in JSON.")],
    key: Annotated[list[Path], typer.Option("--key", help="PEM file of a trusted public key; repeatable.")],
    answer: Annotated[
        Path | None,
        typer.Option(help="File with the answer's text, byte for byte: it must be the one that was signed."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check who signed a receipt and that nothing in it was changed; offline. Exits with 1 if it does not hold.

    Example:  ratchet receipts verify receipt.json --key server.pub.pem --answer answer.txt
    """
    with explained():
        from ratchet_adapters.provenance.receipts import open_receipt
        from ratchet_adapters.provenance.signing import Ed25519Verifier

        said = None if answer is None else answer.read_bytes()
        held = open_receipt(file.read_bytes(), Ed25519Verifier.read(key), answer=said)
    if as_json:
        print_json(
            {
                "ok": True,
                "key_id": held.key_id,
                "answer_sha256": held.answer_sha256,
                "answer_checked": answer is not None,
                "receipt": held.fields,
            }
        )
        return
    console.print(f"[green]signed[/] by {held.key_id}", soft_wrap=True)
    if answer is None:
        console.print("the answer was not compared: name --answer", style="yellow")
    console.print_json(data=held.fields)
