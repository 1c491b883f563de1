"""Which errors a command explains in one line; anything else is a bug and keeps its traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console


@contextmanager
def explained() -> Iterator[None]:
    """Turns the packages' own errors, and those of the operating system, into one line and exit status 1."""
    try:
        yield
    except (typer.Exit, typer.Abort, ModuleNotFoundError):
        raise
    except Exception as error:
        ours = type(error).__module__.startswith("ratchet")
        if not (ours or isinstance(error, OSError)):
            raise
        Console(stderr=True, soft_wrap=True).print(f"[bold red]{type(error).__name__}[/]: ", str(error), sep="")
        raise typer.Exit(1) from None
