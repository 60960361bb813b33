"""Counters in a SQLite file: durable, shared by all processes of one host, nothing to install.

A flush is one transaction with one commit, in a thread of its own; reads have a second thread and connection. The file
and its locks are in `file.py`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from quart_counter.errors import ConfigurationError
from quart_counter.model import Change, Outcome, Reading
from quart_counter.stores.base import Guarantees, Limits, StoreAway, outcome_of, path_of
from quart_counter.stores.sqlite.file import JOURNAL, Reader, Writer
from quart_counter.stores.thread import Thread

Answer = TypeVar("Answer")


class SqliteStore:
    """Counters shared by every process of this host that opens the same file; an answered change is on the disk."""

    guarantees = Guarantees(
        scope="host",
        atomic=True,
        durable="power_loss",
        exactly_once=True,
        versioned=True,
        gapless=True,
        server=f"SQLite {sqlite3.sqlite_version}",
        notes=(
            f"journal mode {JOURNAL}, synchronous FULL: an answered change is on the disk",
            "the file must lie on a local disk: network file systems do not keep SQLite's locks",
        ),
    )

    def __init__(self, path: Path, limits: Limits) -> None:
        self._limits = limits
        self._writer, self._reader = Writer(path, limits), Reader(path, limits)
        self._writing = Thread("quart-counter-sqlite-write", "SQLite")
        self._reading = Thread("quart-counter-sqlite-read", "SQLite")

    async def start(self) -> None:
        """Open the file and create its tables where they are missing. Raises sqlite3.Error and ConfigurationError."""
        await self._writing.run(self._writer.open, 2 * self._limits.deadline_s)

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order, in one transaction with one commit."""
        limits = self._limits
        flush = partial(self._writer.flush, changes, time.monotonic() + limits.deadline_s)
        try:
            return await self._writing.run(flush, limits.deadline_s + limits.store_timeout_s)
        except StoreAway as away:
            return [outcome_of(away)] * len(changes)

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment."""
        return await self._ask(self._reading, partial(self._reader.read, name))

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, all of one moment."""
        return await self._ask(self._reading, partial(self._reader.read_many, names))

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        return await self._ask(self._reading, partial(self._reader.names, after, limit))

    async def forget(self, name: str) -> None:
        """Remove a counter and its keys."""
        forget = partial(self._writer.forget, name, time.monotonic() + self._limits.deadline_s)
        await self._ask(self._writing, forget)

    async def _ask(self, thread: Thread, question: Callable[[], Answer]) -> Answer:
        try:
            return await thread.run(question, self._limits.deadline_s + self._limits.store_timeout_s)
        except sqlite3.Error as error:
            raise StoreAway(f"SQLite could not do it ({error})") from error

    async def aclose(self) -> None:
        """Close both connections and end both threads."""
        await self._writing.aclose(self._writer.close, self._limits.deadline_s)
        await self._reading.aclose(self._reader.close, self._limits.deadline_s)


def _path(url: str) -> Path:
    """Return the file of `sqlite:counters.db`, `sqlite:/var/lib/counters.db` or `sqlite:///var/lib/counters.db`."""
    path = path_of(url)
    if path in ("", ":memory:") or path.startswith("//"):
        raise ConfigurationError(f"{url} names no file: use sqlite:counters.db or sqlite:///var/lib/counters.db")
    return Path(path)


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[SqliteStore]:
    """Open the file, create it if it is missing, and close it at the end. Raises ConfigurationError."""
    path = _path(url)
    store = SqliteStore(path, limits)
    async with aclosing(store):
        try:
            await store.start()
        except (sqlite3.Error, StoreAway) as error:
            raise ConfigurationError(
                f"the SQLite file {path} cannot be used ({error}): name one in a folder that exists and may be written"
            ) from error
        yield store
