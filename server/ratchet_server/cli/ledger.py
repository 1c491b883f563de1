"""`ratchet ledger`: the hash-chained record of every change of state."""

from __future__ import annotations

from typing import Annotated

import typer

from ratchet.cli.output import Json, console, print_json, table
from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, StateDir, from_options

app = typer.Typer(no_args_is_help=True, help="The record of every change of state.")


@app.command()
def verify(
    expect_head: Annotated[
        str, typer.Option(help="Hash that `ratchet ledger head` printed before: it must still be in the chain.")
    ] = "",
    config: Config = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Check the whole chain; exits with 1 if an entry was changed, removed or added.

    Who can write the database can also cut off the chain's end and everything that tells of it. A head that was kept
    elsewhere shows that too.

    Example:  ratchet ledger verify --expect-head "$(cat ledger-head.txt)"
    """
    with explained():
        from ratchet_adapters.provenance.chain import expect_head as find_head
        from ratchet_adapters.registry import Registry

        settings = from_options(config, None, None, state_dir)
        with Registry.open(settings.registry.database_url(settings.state_dir)) as registry:
            check = registry.verify_ledger()
            if check.ok and expect_head:
                find_head(registry, expect_head)
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
def head(config: Config = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """The newest entry's hash, after the whole chain was checked. Keep it where the database's owner cannot write.

    Example:  ratchet ledger head > ledger-head.txt
    """
    with explained():
        from ratchet_adapters.provenance.chain import head as newest
        from ratchet_adapters.registry import Registry

        settings = from_options(config, None, None, state_dir)
        with Registry.open(settings.registry.database_url(settings.state_dir)) as registry:
            found = newest(registry)
    if as_json:
        print_json({"seq": found.seq, "hash": found.hash})
    else:
        typer.echo(found.hash)


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
