"""One database, SQLite or PostgreSQL: how to read from it consistently and write to it one transaction at a time.

It must not know any table. Writers are serial everywhere: `BEGIN IMMEDIATE` on SQLite, a transaction-scoped advisory
lock on PostgreSQL. That is what makes the ledger a chain and a promotion a compare-and-swap.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from ratchet_adapters.registry.errors import RegistryError, RegistryFull, RegistryUnavailable

__all__ = ["Database"]

# Any fixed numbers; every process of this program must use the same.
_WRITER_LOCK = 0x52415443
_IMMEDIATE = "ratchet_immediate"


class Database:
    """An open database. Thread-safe; several processes may have it open at once.

    Attributes:
        decider: Id of the server this process is, for what its transactions decide; "" for a process that is none.
    """

    def __init__(self, url: str, *, busy_timeout_seconds: float = 30.0) -> None:
        """Connect lazily.

        Args:
            url: `sqlite:///path` or `postgresql://user@host/name`.
            busy_timeout_seconds: How long a writer waits for another before it gives up.

        Raises:
            RegistryUnavailable: The URL is malformed or of another database.
        """
        self.decider = ""
        self._parsed = _parse(url)
        self._timeout = busy_timeout_seconds
        self._mutex = threading.RLock()
        try:
            self._engine = self._connect_engine()
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise RegistryUnavailable(self.url, str(error)) from error

    @property
    def url(self) -> str:
        """The URL without its password."""
        return self._parsed.render_as_string(hide_password=True)

    @property
    def conninfo(self) -> str:
        """How libpq connects to it, password included, when it is PostgreSQL."""
        return self._parsed.set(drivername="postgresql").render_as_string(hide_password=False)

    @property
    def engine(self) -> Engine:
        """The SQLAlchemy engine."""
        return self._engine

    @property
    def sqlite_path(self) -> Path | None:
        """The file, when it is SQLite."""
        return Path(str(self._parsed.database)) if self._parsed.get_backend_name() == "sqlite" else None

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Give a session that sees one snapshot of the database.

        Raises:
            RegistryUnavailable: The database cannot be read.
        """
        options = {} if self.sqlite_path else {"isolation_level": "REPEATABLE READ"}
        with self._typed_errors(), self._engine.connect().execution_options(**options) as connection:
            with Session(connection) as session:
                yield session
            connection.rollback()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Give a session that is the only writer and whose changes appear all at once, on disk, when the block ends.

        Raises:
            RegistryFull: No space is left; nothing changed.
            RegistryUnavailable: The database cannot be written; nothing changed.
        """
        with self._writer() as connection, Session(connection, info={"decider": self.decider}) as session:
            yield session
            session.flush()

    @contextmanager
    def append(self) -> Iterator[Session]:
        """Give a session for rows that no ledger entry or promotion depends on: on PostgreSQL it waits for nobody.

        Raises: as `write`.
        """
        with self._writer(serial=False) as connection, Session(connection) as session:
            yield session
            session.flush()

    @contextmanager
    def write_connection(self) -> Iterator[Connection]:
        """Give the only writer's connection, for migrations. Commits when the block ends."""
        with self._writer() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _writer(self, serial: bool = True) -> Iterator[Connection]:
        on_sqlite = self.sqlite_path is not None
        if not on_sqlite and not serial:
            with self._typed_errors(), self._engine.begin() as connection:
                yield connection
            return
        # The mutex queues this process's threads fairly; the database's own lock is for other processes.
        with (
            self._mutex,
            self._typed_errors(),
            self._engine.connect().execution_options(**{_IMMEDIATE: True}) as connection,
            connection.begin(),
        ):
            if not on_sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (_WRITER_LOCK,))
            yield connection

    @contextmanager
    def _typed_errors(self) -> Iterator[None]:
        try:
            yield
        except RegistryError:
            raise
        except SQLAlchemyError as error:
            original = getattr(error, "orig", None) or error
            why = str(original).strip().partition("\n")[0]
            raise (RegistryFull if _is_full(original) else RegistryUnavailable)(self.url, why) from error

    def _connect_engine(self) -> Engine:
        if (path := self.sqlite_path) is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            engine = create_engine(self._parsed, connect_args={"timeout": self._timeout}, pool_size=8, max_overflow=24)
            event.listen(engine, "connect", self._prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        engine = create_engine(self._parsed, pool_pre_ping=True, pool_size=8, max_overflow=24)
        event.listen(engine, "connect", self._prepare_postgresql)
        return engine

    def _prepare_sqlite(self, connection: sqlite3.Connection, record: object) -> None:
        # The driver's own transaction handling would start transactions late and without IMMEDIATE.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {int(self._timeout * 1000)}",
            "synchronous = FULL",  # an acknowledged commit survives power loss, not only kill -9
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    def _prepare_postgresql(self, connection: Any, record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET synchronous_commit = on")
            cursor.execute(f"SET lock_timeout = {int(self._timeout * 1000)}")
            cursor.execute("SET default_transaction_isolation = 'read committed'")
        connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get(_IMMEDIATE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise RegistryUnavailable("(unreadable URL)", "it is no database URL") from error
    shown = parsed.render_as_string(hide_password=True)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise RegistryUnavailable(shown, "the database must be a file, or nothing in it would be durable")
        return parsed.set(drivername="sqlite+pysqlite")
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    raise RegistryUnavailable(shown, f"{backend} is not supported; use sqlite or postgresql")


def _is_full(error: object) -> bool:
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL" or getattr(error, "sqlstate", "") == "53100"
