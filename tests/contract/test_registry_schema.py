"""Migrations and tables say the same, and connections are set up to keep what they acknowledge."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ratchet_adapters.access.models import ApiKeyRow
from ratchet_adapters.flags.models import FlagRow
from ratchet_adapters.registry import Registry


def test_the_migrations_make_exactly_the_tables_of_the_models(registry: Registry) -> None:
    with registry.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        # Importing the rows of each package is what puts its tables there.
        assert FlagRow.metadata is ApiKeyRow.metadata
        assert compare_metadata(context, FlagRow.metadata) == []


def test_every_connection_flushes_each_commit_to_disk(registry: Registry) -> None:
    with registry.database.read() as session, registry.database.read() as other:
        for connection in (session.connection(), other.connection()):
            if connection.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
                assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
                assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            else:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
                assert connection.exec_driver_sql("SHOW fsync").scalar() == "on"


def test_a_reader_sees_one_snapshot(registry: Registry) -> None:
    with registry.database.read() as session:
        before = session.connection().exec_driver_sql("SELECT count(*) FROM runs").scalar()
        registry.create_run(method="m", options={}, requested_by="me")
        assert session.connection().exec_driver_sql("SELECT count(*) FROM runs").scalar() == before
    assert len(registry.runs()) == 1
