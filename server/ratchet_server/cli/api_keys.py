"""`ratchet api-keys`: who may call the server. Works on the registry's database, with the server running or not."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ratchet.cli.output import Json, console, print_json, table
from ratchet_server.access.identity import Role
from ratchet_server.cli.failures import explained
from ratchet_server.cli.serve import Config, StateDir, from_options

if TYPE_CHECKING:
    from pathlib import Path

    from ratchet_adapters.access import ApiKey, KeyStore

app = typer.Typer(no_args_is_help=True, help="API keys: who may call the server, and as what.")
Ident = Annotated[str, typer.Argument(help="Id of the key, as `ratchet api-keys list` shows it.")]


@app.callback()
def _api_keys() -> None:
    """API keys: who may call the server, and as what."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who holds it: it stands for them in flags, approvals and the ledger.")],
    role: Annotated[list[Role], typer.Option(help="May be given several times; see docs/access.md.")],
    tenant: Annotated[str, typer.Option(help="Whose policy and data; empty: all tenants.")] = "",
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; none: it does not.")] = None,
    on_behalf: Annotated[bool, typer.Option(help="It may name the end users it asks for.")] = False,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, this once.

    Example:  ratchet api-keys create webshop --role app --tenant webshop --days 90
    """
    expires = None if days is None else datetime.now(UTC) + timedelta(days=days)
    with _store(config, state_dir) as keys:
        from ratchet_adapters.access import NewKey

        grant = NewKey(name, tuple(sorted(set(map(str, role)))), tenant, on_behalf, expires)
        _show(*keys.create(grant, getpass.getuser()), as_json)


@app.command("list")
def list_keys(config: Config = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """All keys, revoked ones included; never the keys themselves."""
    with _store(config, state_dir) as keys:
        found = keys.all()
    if as_json:
        return print_json([_document(key) for key in found])
    rows = [
        (k.id, k.grant.name, " ".join(k.grant.roles), k.grant.tenant or "(all)", _state(k), f"{k.created_at:%Y-%m-%d}")
        for k in found
    ]
    table("API keys", ("id", "name", "roles", "tenant", "state", "created"), rows)
    return None


@app.command()
def rotate(
    ident: Ident,
    grace_hours: Annotated[float, typer.Option(min=0, help="How long the old key still opens.")] = 24,
    config: Config = None,
    state_dir: StateDir = None,
    as_json: Json = False,
) -> None:
    """Make a new key that opens the same, and show it, this once; the old one ends after the grace time.

    Example:  ratchet api-keys rotate 0f3a55c2d1e0 --grace-hours 1
    """
    with _store(config, state_dir) as keys:
        _show(*keys.rotate(ident, getpass.getuser(), grace=timedelta(hours=grace_hours)), as_json)


@app.command()
def revoke(ident: Ident, config: Config = None, state_dir: StateDir = None, as_json: Json = False) -> None:
    """Make a key open nothing from now on, on every server within seconds."""
    with _store(config, state_dir) as keys:
        key = keys.revoke(ident, getpass.getuser())
    if as_json:
        return print_json(_document(key))
    console.print(f"revoked {key.id} of {key.grant.name}")
    return None


@contextmanager
def _store(config: Path | None, state_dir: Path | None) -> Iterator[KeyStore]:
    with explained():
        from ratchet_adapters.access import KeyStore
        from ratchet_adapters.registry import Registry

        settings = from_options(config, None, None, state_dir)
        with Registry.open(settings.registry.database_url(settings.state_dir)) as registry:
            yield KeyStore.open(registry)


def _show(key: ApiKey, plain: str, as_json: bool) -> None:
    if as_json:
        return print_json({**_document(key), "key": plain})
    # The key alone on stdout, so that it can be piped to where it belongs.
    typer.echo(plain)
    Console(stderr=True).print(f"key {key.id} of {key.grant.name}: it is shown only now", style="bold")
    return None


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.grant.expires_at is None:
        return "open"
    return f"until {key.grant.expires_at:%Y-%m-%d %H:%M}" if key.opens(datetime.now(UTC)) else "expired"


def _document(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.grant.name,
        "roles": list(key.grant.roles),
        "tenant": key.grant.tenant,
        "on_behalf": key.grant.on_behalf,
        "state": _state(key),
        "created_by": key.created_by,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.grant.expires_at.isoformat() if key.grant.expires_at else None,
    }
