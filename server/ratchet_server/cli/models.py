"""`ratchet models`: the models of the embedded default."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from ratchet.cli.output import Json, console, print_json
from ratchet_server.cli.failures import explained

app = typer.Typer(no_args_is_help=True, help="The models of the embedded default.")


@app.command()
def prepare(
    force: Annotated[bool, typer.Option(help="Make them anew even if they verify.")] = False, as_json: Json = False
) -> None:
    """Unpack and convert the chat model and the scorers into the cache; offline; does nothing when they verify.

    The cache is the user's cache folder, or RATCHET_CACHE.
    """
    status = Console(stderr=True)
    with explained(), status.status("models") as spinner:
        from ratchet_plugins.models.preparation import prepare_all

        prepared = prepare_all(force=force, progress=lambda text: spinner.update(text))
    if as_json:
        print_json({name: str(value) for name, value in prepared.items()})
    else:
        for name, value in prepared.items():
            console.print(f"{name}: {value}", soft_wrap=True)
