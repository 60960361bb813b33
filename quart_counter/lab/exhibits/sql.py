"""An exhibit in SQL: SELECT, add in Python, UPDATE, each a transaction of its own. SQLite, because it is everywhere."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import replace
from typing import Final

from quart_counter.errors import ConfigurationError
from quart_counter.lab import steps
from quart_counter.lab.exhibits.gate import Gate
from quart_counter.lab.exhibits.plain import PLAIN, Plain, Threads, after
from quart_counter.model import Change
from quart_counter.stores.base import Store

PATIENCE_S: Final = 10.0  # a writer waits so long for the others; then it says "database is locked"


class _ReadThenWrite(Plain):
    """Right SQL and a real database, and wrong all the same: what was read is old by the time it is written."""

    guarantees = replace(PLAIN, scope="host", durable="crash")

    def __init__(self, path: str) -> None:
        self._path = path
        self._gate, self._threads = Gate(), Threads()

    async def start(self) -> None:
        """Create the table."""
        await self._threads.run(self._execute, "CREATE TABLE IF NOT EXISTS hits (name TEXT PRIMARY KEY, value INTEGER)")

    async def _change(self, change: Change) -> int:
        before = await self._value(change.name)
        steps.note("SELECTs", before)
        await self._gate.wait()
        value = after(before, change)
        await self._threads.run(self._execute, "INSERT OR IGNORE INTO hits VALUES (?, 0)", change.name)
        await self._threads.run(self._execute, "UPDATE hits SET value = ? WHERE name = ?", value, change.name)
        steps.note("UPDATEs", value)
        return value

    async def _value(self, name: str) -> int:
        row = await self._threads.run(self._execute, "SELECT value FROM hits WHERE name = ?", name)
        return row[0] if row else 0

    def _execute(self, statement: str, *values: object) -> tuple[int] | None:
        with closing(sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous = OFF")  # a kill -9 harms nothing; a power cut may
            row: tuple[int] | None = db.execute(statement, values).fetchone()
            return row

    async def aclose(self) -> None:
        self._threads.close()


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Open the file that `sqlite:PATH` names. Raises ConfigurationError."""
    store = _ReadThenWrite(url.removeprefix("sqlite:"))
    async with aclosing(store):
        try:
            await store.start()
        except sqlite3.Error as error:
            raise ConfigurationError(f"{url} cannot be used ({error}): name a file that may be written") from error
        yield store
