"""`ratchet suites`: what can be evaluated, and what is known of its noise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ratchet.cli.output import Json, print_json, table
from ratchet_server.cli.failures import explained

app = typer.Typer(no_args_is_help=True, help="What can be evaluated.")


@app.command("list")
def list_suites(
    data: Annotated[
        Path | None,
        typer.Option(envvar="RATCHET_DATA", help="Folder in which public sets are looked for; nothing is downloaded."),
    ] = None,
    axis: Annotated[str, typer.Option(help="Only the suites of this axis.")] = "",
    as_json: Json = False,
) -> None:
    """List every suite: its axis, items, licence, judge and noise, and what is missing where one can not be read.

    "shows" is the smallest difference between two adapters that the items would show (paired, one-sided level 0.05,
    power 0.8), given the share of items on which they are expected to differ and the clustering of the items.

    Example:  ratchet suites list --data ./data
    """
    with explained():
        from ratchet_adapters.evals.suites.catalogue import catalogue

        cards = [card for card in catalogue(data) if axis in ("", card.axis)]
    if as_json:
        print_json([asdict(card) for card in cards])
        return
    table(
        "Suites",
        ["name", "axis", "items", "shows", "licence", "judge", "labels and noise", "missing"],
        (
            (
                card.name,
                card.axis,
                "-" if card.items is None else card.items,
                "-" if card.detectable is None else f"{card.detectable:.1%}",
                card.licence,
                card.judge,
                card.noise or "not declared",
                card.missing,
            )
            for card in cards
        ),
    )
