"""Tells of new versions of the routing, and of what servers ask each other, as it is committed, where the database can.

It must not know what they say: whoever hears of one reads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
from psycopg import sql

from ratchet_adapters.registry.channel import CHANNEL
from ratchet_adapters.registry.database import Database

__all__ = ["notifications"]


async def notifications(database: Database) -> AsyncIterator[int]:
    """Yield the number of each new version, on PostgreSQL; end at once on SQLite, which tells nobody.

    0 says that there is something else to look at; the first one that listening has begun, and that what was
    committed before it has to be read.

    Raises:
        psycopg.Error: The connection was lost; listen again, and read what was missed.
    """
    if database.sqlite_path is not None:
        return
    async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as connection:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
        yield 0
        async for heard in connection.notifies():
            yield int(heard.payload)
