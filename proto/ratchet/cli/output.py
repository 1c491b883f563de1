"""How commands print: a table or text for people, one JSON document with --json for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

console = Console()

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Address = Annotated[str, typer.Option("--address", envvar="RATCHET_ADDRESS", help="host:port of the server.")]
DEFAULT_ADDRESS = "127.0.0.1:50051"


def document(message: Message) -> Any:
    """A protobuf message as JSON-ready values, field names as in the .proto."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document(value) if isinstance(value, Message) else value, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout."""
    drawn = Table(*columns, title=title, title_justify="left")
    for row in rows:
        drawn.add_row(*(str(cell) for cell in row))
    console.print(drawn)


def short(digest: str) -> str:
    """`sha256:0123...` -> its first twelve hex digits; the base model for an empty one."""
    return digest.removeprefix("sha256:")[:12] or "base"
