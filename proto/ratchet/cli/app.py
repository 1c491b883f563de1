"""The root command, its error handling and the entry points that add commands. Knows no command in particular."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import grpc
import typer
from rich.console import Console

from ratchet.cli import adapters, flags, generate, rails, rollouts, runs
from ratchet.client import RatchetError
from ratchet.client.errors import from_rpc_error

GROUP = "ratchet.commands"
EXTRAS = "pip install 'ratchet-llm[server,cpu,learn]'   # on a GPU machine: [server,gpu,learn]"

app = typer.Typer(
    name="ratchet",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="The safety layer around your own LLM: serve, flag, teach, prove, promote, undo.",
)
app.command("generate")(generate.generate)
app.add_typer(adapters.app, name="adapters")
app.add_typer(rollouts.app, name="rollouts")
app.add_typer(flags.app, name="flags")
app.add_typer(rails.app, name="rails")
app.add_typer(runs.app, name="runs")
app.command("train")(runs.train)


def _add_commands() -> None:
    for entry in entry_points(group=GROUP):
        entry.load()(app)


def _explain(stderr: Console, error: RatchetError) -> None:
    stderr.print(f"[bold red]{error.reason or error.code.name}[/]: ", end="")
    stderr.print(error.detail, markup=False)
    for violation in error.violations:
        stderr.print(f"  {violation.field}: {violation.description}", markup=False)


def main() -> None:
    """Runs the command line; every expected failure is one line on stderr and a non-zero status."""
    _add_commands()
    stderr = Console(stderr=True, soft_wrap=True)
    try:
        app()
    except RatchetError as error:
        _explain(stderr, error)
        sys.exit(1)
    except grpc.RpcError as error:
        _explain(stderr, from_rpc_error(error))
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("ratchet"):
            raise
        stderr.print(
            f"This command needs the package {error.name!r}, which is not installed.\n  {EXTRAS}", markup=False
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
