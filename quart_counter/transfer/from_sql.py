"""Counters from a query on somebody's own tables: name and value in its first two columns, a version in a third."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from quart_counter.errors import ConfigurationError, InvalidChange
from quart_counter.extras import install
from quart_counter.transfer.moving import FLUSH
from quart_counter.transfer.naming import Naming
from quart_counter.transfer.rows import Row, restore

READING: Final = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)


async def batches(url: str, query: str, naming: Naming) -> AsyncIterator[tuple[list[Row], int]]:
    """Yield the counters that `query` finds, a flush at a time, and how many rows they were. Nothing is written there.

    Raises InvalidChange that names the row, and ConfigurationError with what the database says.
    """
    match url.partition(":")[0]:
        case "sqlite":
            found = _sqlite(url, query)
        case "postgres" | "postgresql":
            found = _postgres(url, query)
        case scheme:
            raise ConfigurationError(f"--from-sql reads sqlite: and postgresql: URLs, not {scheme}:")
    number = 0
    async for records in found:
        yield [_row(number + i, record, naming) for i, record in enumerate(records, 1)], len(records)
        number += len(records)


async def _sqlite(url: str, query: str) -> AsyncIterator[Sequence[Sequence[Any]]]:
    path = Path(url.removeprefix("sqlite:").removeprefix("//"))
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as db:
            db.set_authorizer(_may_only_read)
            cursor = db.execute(query)
            if cursor.description is None:
                raise ConfigurationError("--from-sql finds nothing: give a SELECT")
            while records := cursor.fetchmany(FLUSH):
                yield records
    except sqlite3.Error as error:
        raise ConfigurationError(f"SQLite cannot answer --from-sql from {path} ({error})") from error


def _may_only_read(action: int, *about: str | None) -> int:
    """Answer SQLite, which asks before each step: opened for reading, it still makes files if it may attach them."""
    return sqlite3.SQLITE_OK if action in READING else sqlite3.SQLITE_DENY


async def _postgres(url: str, query: str) -> AsyncIterator[Sequence[Sequence[Any]]]:
    try:
        import asyncpg  # type: ignore[import-untyped]
    except ModuleNotFoundError as missing:
        raise ConfigurationError(
            f"--from-sql from PostgreSQL needs the package asyncpg: run {install('postgres')}"
        ) from missing
    from quart_counter.stores.postgres import MALFORMED, place_of

    place_of(url)
    try:
        connection = await asyncpg.connect(url, timeout=10.0)
        try:
            async with connection.transaction(readonly=True):
                cursor = await connection.cursor(query)
                while records := await cursor.fetch(FLUSH):
                    yield records
        finally:
            connection.terminate()
    except (asyncpg.ClientConfigurationError, ValueError):  # may quote what it could not take apart
        raise ConfigurationError(MALFORMED) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        sentence = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigurationError(f"PostgreSQL cannot answer --from-sql ({sentence})") from error


def _row(number: int, record: Sequence[Any], naming: Naming) -> Row:
    if len(record) not in (2, 3):
        raise ConfigurationError(
            f"--from-sql finds {len(record)} columns: SELECT the name and the value, and a version if there is one"
        )
    name, *numbers = record
    if name is None:
        raise InvalidChange(f"row {number}: the name is null")
    try:
        row = Row(naming.name(str(name)), *map(_whole, numbers))
        restore(row)
        return row
    except InvalidChange as invalid:
        where = f"row {number}" if repr(name) in str(invalid) else f"row {number}, {name!r:.100}"
        raise InvalidChange(f"{where}: {invalid}") from None


def _whole(number: Any) -> Any:
    """A sum of whole numbers is a numeric in PostgreSQL."""
    return int(number) if isinstance(number, Decimal) and number == number.to_integral_value() else number
