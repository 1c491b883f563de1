"""`ratchet ledger`: the hash-chained record of every change of state."""

from __future__ import annotations

from typing import Annotated

import typer

from ratchet.cli.output import Json, console, print_json, table
from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, StateDir, from_options

app = typer.Typer(no_args_is_help=True, help="The record of every change of state.")


@app.command()
def verify(config: Config = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Check the whole chain; exits with 1 if an entry was changed, removed or added."""
    with explained():
        from ratchet_adapters.registry import Registry

        settings = from_options(config, None, None, state_dir)
        check = Registry.open(settings.registry.database_url(settings.state_dir)).verify_ledger()
    if as_json:
        print_json(
            {"ok": check.ok, "entries": check.entries, "first_bad_seq": check.first_bad_seq, "reason": check.reason}
        )
    elif check.ok:
        console.print(f"[green]whole[/]: {check.entries} entries")
    else:
        console.print(f"[bold red]broken[/] at entry {check.first_bad_seq}: {check.reason}")
    raise typer.Exit(0 if check.ok else 1)


@app.command()
def show(
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest entries.")] = 50,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """The newest entries, oldest first."""
    with explained():
        from ratchet_adapters.registry import Registry

        settings = from_options(config, None, None, state_dir)
        registry = Registry.open(settings.registry.database_url(settings.state_dir))
        last = registry.verify_ledger().entries
        entries = registry.ledger(max(0, last - limit), limit)
    if as_json:
        print_json(
            [
                {
                    "seq": e.seq,
                    "time": e.time.isoformat(),
                    "actor": e.actor,
                    "kind": e.kind,
                    "payload": e.payload,
                    "hash": e.hash,
                }
                for e in entries
            ]
        )
    else:
        table(
            "Ledger",
            ["seq", "time", "actor", "what", "payload"],
            ((e.seq, e.time.isoformat(timespec="seconds"), e.actor, e.kind, str(e.payload)[:80]) for e in entries),
        )
