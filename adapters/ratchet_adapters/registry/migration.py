"""Brings a database to this version's schema when it is opened, once, however many processes open it at once.

It must not know what the migrations do.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock, Timeout
from sqlalchemy import inspect

from ratchet_adapters.registry.database import Database
from ratchet_adapters.registry.errors import RegistryTooNew, RegistryUnavailable

__all__ = ["migrate", "revision_of"]

_LOCK_SECONDS = 60.0


def migrate(database: Database) -> None:
    """Upgrade a database to the newest schema. Does nothing, and takes no lock, when it is there already.

    Raises:
        RegistryTooNew: A newer version of this program wrote it.
        RegistryUnavailable: It cannot be opened, or another process holds the migration lock too long.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    known = {script.revision for script in scripts.walk_revisions()}
    if _current(database, known) == head:
        return
    try:
        with _lock(database):
            _use_wal(database)
            with database.write_connection() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except Timeout as error:
        raise RegistryUnavailable(database.url, "another process has been migrating it for a minute") from error
    except OSError as error:
        raise RegistryUnavailable(database.url, error.strerror or str(error)) from error


def revision_of(database: Database) -> str | None:
    """Return the schema revision of a database, None when it is empty."""
    with database.read() as session:
        connection = session.connection()
        if not inspect(connection).has_table("alembic_version"):
            return None
        return MigrationContext.configure(connection).get_current_revision()


def _current(database: Database, known: set[str]) -> str | None:
    revision = revision_of(database)
    if revision is not None and revision not in known:
        raise RegistryTooNew(database.url, revision)
    return revision


def _lock(database: Database) -> AbstractContextManager[Any]:
    if (path := database.sqlite_path) is None:
        return nullcontext()  # The writer's advisory lock, held for the whole upgrade, is enough.
    return FileLock(path.with_name(path.name + ".migrate.lock"), timeout=_LOCK_SECONDS)


def _use_wal(database: Database) -> None:
    if database.sqlite_path is None:
        return
    # Outside a transaction, on a raw connection: SQLite does not change the journal inside one.
    raw = database.engine.raw_connection()
    try:
        mode = raw.cursor().execute("PRAGMA journal_mode = WAL").fetchone()
    except Exception as error:
        raise RegistryUnavailable(database.url, f"it cannot be switched to WAL ({error})") from error
    finally:
        raw.close()
    if mode is None or mode[0] != "wal":
        raise RegistryUnavailable(database.url, f"its journal is {mode}, not WAL; use a local disk")
