"""Numbers without holes, for those who write to SQL anyway: taken inside the caller's own transaction.

    async with connection.transaction():
        number = await ticket("invoices", connection=connection)
        await connection.execute("INSERT INTO invoices (number, ...) VALUES ($1, ...)", number, ...)

Commit keeps the number; rollback, or the death of the process, gives it back, so the next transaction gets it. The
price: from `ticket` until the end of its transaction the number's row (in SQLite: the whole database) is locked, and
everybody else who wants a ticket of that name waits. Take it late, and commit soon. Where holes do no harm, count with
`Counters`: those never wait for anybody's commit. Tickets have a table of their own and are not to be had over HTTP.

`connection` is one of asyncpg (of a pool, too) or aiosqlite. The driver's own errors pass through.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final, Literal

from quart_counter.errors import ConfigurationError, InvalidChange, NotApplied
from quart_counter.model import check_name

__all__ = ["create_table", "ticket"]

TABLE: Final = "quart_counter_tickets"

_CREATE: Final = f"CREATE TABLE IF NOT EXISTS {TABLE} (name varchar(64) PRIMARY KEY, value bigint NOT NULL)"
# Two that create a table at once collide in PostgreSQL's catalogue, IF NOT EXISTS or not.
_ONE_AT_A_TIME: Final = f"SELECT pg_advisory_xact_lock(hashtext('{TABLE}'))"
_NEXT: Final = (
    f"INSERT INTO {TABLE} (name, value) VALUES ({{}}, 1) "
    f"ON CONFLICT (name) DO UPDATE SET value = {TABLE}.value + 1 RETURNING value"
)
_UNDEFINED_TABLE: Final = "42P01"  # PostgreSQL's code


async def ticket(name: str, *, connection: Any) -> int:
    """Return the next number of `name`, from 1 on; it is yours if your transaction commits, else the next one's.

    The numbers of committed transactions are 1 to n without a hole, in the order of their commits. Raises InvalidChange
    for a bad name, an unknown connection, or no open transaction; NotApplied when SQLite refuses the lock (roll back,
    and begin again with BEGIN IMMEDIATE); ConfigurationError without the table.
    """
    check_name(name)
    if _driver(connection) == "asyncpg":
        return await _from_postgres(name, connection)
    return await _from_sqlite(name, connection)


async def create_table(connection: Any) -> None:
    """Create the table of the tickets, unless it is there; once, by whoever may create tables.

    Part of the open transaction if there is one, else on its own.
    """
    if _driver(connection) == "asyncpg":
        await connection.execute(f"{_ONE_AT_A_TIME}; {_CREATE}")  # without arguments: both in one transaction
        return
    cursor = await connection.execute(_CREATE)
    await cursor.close()


def _driver(connection: object) -> Literal["asyncpg", "aiosqlite"]:
    """Recognise the driver by where the connection's classes come from, so that neither needs to be installed."""
    for kind in type(connection).__mro__:
        match kind.__module__.partition(".")[0]:
            case "asyncpg":
                return "asyncpg"
            case "aiosqlite":
                return "aiosqlite"
    raise InvalidChange(f"connection is a {type(connection).__qualname__}: give one of asyncpg or aiosqlite")


def _refuse_without(transaction: bool, remedy: str) -> None:
    if not transaction:
        raise InvalidChange(
            f"no transaction is open on this connection, so nothing could give the number back: take it {remedy}"
        )


async def _from_postgres(name: str, connection: Any) -> int:
    _refuse_without(connection.is_in_transaction(), "inside `async with connection.transaction():`")
    try:
        return int(await connection.fetchval(_NEXT.format("$1"), name))
    except Exception as error:
        if getattr(error, "sqlstate", None) == _UNDEFINED_TABLE:
            raise _no_table() from error
        raise


async def _from_sqlite(name: str, connection: Any) -> int:
    _refuse_without(connection.in_transaction, "after `await connection.execute('BEGIN IMMEDIATE')`")
    try:
        return await _row_of(name, connection)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise NotApplied(
                f"the database is locked ({error}) and this transaction was not begun as a writer: roll it back, and "
                "begin it with BEGIN IMMEDIATE, which waits for its turn"
            ) from error
        if f"no such table: {TABLE}" in str(error):
            raise _no_table() from error
        raise


async def _row_of(name: str, connection: Any) -> int:
    async with connection.execute(_NEXT.format("?"), (name,)) as cursor:
        cursor.row_factory = None  # the connection's own may make anything of a row
        [[value]] = await cursor.fetchall()
        return int(value)


def _no_table() -> ConfigurationError:
    return ConfigurationError(f"there is no table {TABLE}: run `await create_table(connection)` once")
