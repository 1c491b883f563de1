"""`ratchet generate`: one prompt, streamed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ratchet.cli.output import DEFAULT_ADDRESS, Address, Json, console, document, print_json, short
from ratchet.client import Done, Ratchet
from ratchet.client.request import Options


def generate(
    prompt: Annotated[str, typer.Argument(help="The user's message; - reads it from standard input.")],
    address: Address = DEFAULT_ADDRESS,
    adapter: Annotated[str, typer.Option(help="Alias (champion, previous), 'base', or a digest.")] = "",
    rail_profile: Annotated[str, typer.Option("--rails", help="Rail profile; 'off' for none.")] = "",
    tenant: str = "",
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is greedy.")] = None,
    seed: int | None = None,
    receipt: Annotated[bool, typer.Option(help="Print the receipt after the answer.")] = False,
    signed_receipt: Annotated[
        Path | None, typer.Option(help="Write the signed receipt here, and the answer beside it with .txt.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask the served model; the answer streams as the rails release it.

    Example:  ratchet generate "How do I kill a Python process?" --receipt

    Exits with 3 when a rail blocked.
    """
    options: Options = {"adapter": adapter, "rail_profile": rail_profile, "tenant": tenant}
    if max_tokens is not None:
        options["max_tokens"] = max_tokens
    if temperature is not None:
        options["temperature"] = temperature
    if seed is not None:
        options["seed"] = seed
    text, done = "", None
    with Ratchet(address) as client:
        for event in client.stream(sys.stdin.read() if prompt == "-" else prompt, **options):
            if isinstance(event, Done):
                done = event
            else:
                text += event.text
                if not as_json:
                    print(event.text, end="", flush=True)  # noqa: T201  (streamed: rich would re-wrap it)
    assert done is not None
    if signed_receipt is not None:
        if not done.signed_receipt:
            console.print("this server signs no receipts: set signing.receipt_key on it", style="bold red")
            raise typer.Exit(1)
        signed_receipt.write_text(done.signed_receipt, encoding="utf-8")
        signed_receipt.with_suffix(".txt").write_bytes(text.encode("utf-8", "surrogatepass"))
    if as_json:
        print_json({"text": text, "finish_reason": done.finish_reason, "receipt": document(done.receipt)})
    else:
        console.print()
        blocked = [v for v in done.receipt.verdicts if v.outcome != 1]
        for verdict in blocked:
            console.print(f"[bold red]{done.finish_reason}[/] by {verdict.rail}: {verdict.reason}")
        if receipt:
            console.print_json(data=document(done.receipt))
        else:
            r = done.receipt
            console.print(
                f"[dim]{short(r.adapter_digest)} ({r.adapter_alias}) · {r.rail_profile} · {r.tokens.completion} tokens"
                f" · {r.timings.total_ms:.0f} ms[/]"
            )
    if done.finish_reason.startswith("BLOCKED"):
        raise typer.Exit(3)
