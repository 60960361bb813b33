"""Counters in PostgreSQL, through asyncpg: atomic across processes and hosts, as durable as the server is set up to be.

A flush is one transaction: lock the rows in name order, load them, run the model, write and commit. That is three round
trips, four with keys. A flush whose COMMIT was not answered is sent again and finds its receipt (see `sql.Flusher`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

import asyncpg  # type: ignore[import-untyped]

from quart_counter.errors import ConfigurationError
from quart_counter.model import Change, Outcome, Reading
from quart_counter.stores.base import Durability, Guarantees, Limits, StoreAway
from quart_counter.stores.postgres.session import (
    DRIVER_ERRORS,
    LOAD,
    LOAD_KEYS,
    NOW_MS,
    SAW,
    PostgresSession,
    session_settings,
    translated,
    words,
)
from quart_counter.stores.sql import OPENING_S, Flusher

SCHEMA: Final = files("quart_counter.stores.postgres").joinpath("schema.sql").read_text()
READ_CONNECTIONS: Final = 4
SCHEMA_LOCK: Final = 0x71636F756E74  # of our own choice: workers that open an empty database at once take turns

HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:[0-9]+)?")
MALFORMED: Final = (  # and not quoted: what cannot be taken apart may be a password
    "the PostgreSQL URL is malformed: write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and %XX for characters "
    "like # / @ in the password"
)

READ: Final = "SELECT value, version FROM quart_counters WHERE name = $1"
READ_MANY: Final = "SELECT name, value, version FROM quart_counters WHERE name = ANY ($1)"
NAMES: Final = "SELECT name FROM quart_counters WHERE name > $1 AND version > 0 ORDER BY name LIMIT $2"
DROP_OLD_RECEIPTS: Final = (
    "DELETE FROM quart_counter_flushes WHERE worker IN "
    f"(SELECT worker FROM quart_counter_flushes WHERE expires_ms < {NOW_MS} FOR UPDATE SKIP LOCKED)"
)
LACKING: Final = (
    "SELECT string_agg(concat(privilege, ' on ', tab), ', ') "
    "FROM unnest(ARRAY['quart_counters', 'quart_counter_keys', 'quart_counter_flushes']) AS tab, "
    "unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege WHERE NOT has_table_privilege(tab, privilege)"
)
SETTINGS: Final = ("synchronous_commit", "fsync", "full_page_writes", "transaction_read_only", "server_version")
_WORST_FIRST: Final[tuple[Durability, ...]] = ("none", "restart", "crash", "power_loss")
# A setting, the worst event that answered changes survive without it, and what may happen then.
_NEEDED_ON: Final[tuple[tuple[str, Durability, str], ...]] = (
    ("synchronous_commit", "restart", "a crash of PostgreSQL may lose the last answered changes"),
    ("fsync", "crash", "a power cut may lose or damage everything"),
    ("full_page_writes", "crash", "a power cut may damage pages"),
)


class PostgresStore:
    """Counters shared by every process that reaches one PostgreSQL; right with any number of workers and hosts."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._url, self._limits = url, limits
        self._flusher = Flusher(self._connect, "PostgreSQL", limits)
        options = _options(url, limits)
        self._reads = asyncpg.create_pool(**options, min_size=0, max_size=READ_CONNECTIONS, reset=_leave_as_it_is)
        self.guarantees = _guarantees({})

    async def start(self) -> None:
        """Read the server's settings, create missing tables, see that they may be used. Raises DRIVER_ERRORS."""
        await self._reads  # it connects when somebody reads
        async with asyncio.timeout(OPENING_S):
            connection = await asyncpg.connect(**_options(self._url, replace(self._limits, store_timeout_s=OPENING_S)))
            try:
                self.guarantees = _guarantees(await _settings(connection))
                await _lay_out(connection)
                await _rehearse(connection)
                await connection.execute(DROP_OLD_RECEIPTS)
            finally:
                connection.terminate()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order, in one transaction; one flush at a time."""
        return await self._flusher.apply(changes)

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment, on a connection that carries no flush."""
        row = await self._ask(lambda: self._reads.fetchrow(READ, name))
        return Reading(*row) if row else Reading()

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, all of one moment."""
        rows = await self._ask(lambda: self._reads.fetch(READ_MANY, list(names)))
        found = {name: Reading(*reading) for name, *reading in rows}
        return [found.get(name, Reading()) for name in names]

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        return [name for (name,) in await self._ask(lambda: self._reads.fetch(NAMES, after, limit))]

    async def forget(self, name: str) -> None:
        """Remove a counter and its keys."""
        await self._ask(lambda: self._forget(name))

    async def _forget(self, name: str) -> None:
        async with self._reads.acquire() as connection, connection.transaction():
            await connection.execute("DELETE FROM quart_counters WHERE name = $1", name)
            await connection.execute("DELETE FROM quart_counter_keys WHERE name = $1", name)

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(self._limits.store_timeout_s):
                return await question()
        except DRIVER_ERRORS as error:
            raise StoreAway(words(error)) from error

    async def aclose(self) -> None:
        """Close every connection."""
        await self._flusher.aclose()
        try:
            async with asyncio.timeout(self._limits.store_timeout_s):
                await self._reads.close()
        except DRIVER_ERRORS:
            self._reads.terminate()

    async def _connect(self) -> PostgresSession:
        with translated():
            return PostgresSession(await asyncpg.connect(**_options(self._url, self._limits)))


def _options(url: str, limits: Limits) -> dict[str, Any]:
    # A command that is given up is cancelled at the server by asyncpg, which waits for the word of a server that may be
    # silent: without command_timeout for ever, and its caller with it.
    try_s = limits.store_timeout_s
    return {"dsn": url, "timeout": try_s, "command_timeout": try_s, "server_settings": session_settings(limits)}


async def _settings(connection: Any) -> Mapping[str, str | None]:
    """Ask for what the guarantees depend on. Raises ConfigurationError for a server that cannot be written to."""
    settings = {name: await connection.fetchval("SELECT current_setting($1, true)", name) for name in SETTINGS}
    if settings["transaction_read_only"] != "off":
        raise ConfigurationError("this PostgreSQL is read-only (a standby?): name the primary in the URL")
    return settings


async def _lay_out(connection: Any) -> None:
    """Create the tables unless they are there; workers that find none take turns."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", SCHEMA_LOCK)
        if not await connection.fetchval("SELECT to_regclass('quart_counters')"):
            await connection.execute(SCHEMA)


async def _rehearse(connection: Any) -> None:
    """See that columns and rights are as a flush needs them."""
    lacking = await connection.fetchval(LACKING)
    if lacking:
        raise ConfigurationError(f"this PostgreSQL user lacks {lacking}: GRANT it, or name another user")
    for statement in (LOAD, LOAD_KEYS, SAW):
        await connection.prepare(statement)


async def _leave_as_it_is(connection: object) -> None:
    """Reads leave nothing behind on a connection, so the pool needs no round trip to clean it."""


def _guarantees(settings: Mapping[str, str | None]) -> Guarantees:
    """State what this server, as configured, keeps; `settings` are empty before it was asked, None if unreadable."""
    durable: Durability = "power_loss"
    notes = []
    for name, survives, what in _NEEDED_ON:
        setting = settings.get(name)
        if setting == "off":
            durable = min(durable, survives, key=_WORST_FIRST.index)
            notes.append(f"{name} is off: {what}")
        if setting is None:
            durable = "none"
            notes.append(f"{name} cannot be read, so it counts as off")
    return Guarantees(
        scope="network",
        atomic=True,
        durable=durable,
        exactly_once=True,
        versioned=True,
        gapless=True,
        notes=tuple(notes),
        server=f"PostgreSQL {(settings.get('server_version') or '?').split()[0]}",
    )


def place_of(url: str) -> str:
    """Return HOST:PORT, or several of them, for sentences without a password. Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(MALFORMED) from None
    hosts = parts.netloc.rpartition("@")[2]
    if "@" in parts.path + parts.fragment or not all(HOST.fullmatch(host) for host in hosts.split(",")):
        raise ConfigurationError(MALFORMED)
    return hosts


def _why(error: Exception, place: str) -> str:
    match error:
        case asyncpg.ClientConfigurationError():
            return MALFORMED
        case asyncpg.InvalidAuthorizationSpecificationError():  # a wrong password is one, too
            return f"PostgreSQL at {place} refuses this user or password: mend them in the URL"
        case asyncpg.InvalidCatalogNameError():
            return f"PostgreSQL at {place} has no such database: run CREATE DATABASE, or name another in the URL"
        case asyncpg.InsufficientPrivilegeError():
            return f"{words(error)}: GRANT it to this user, or name another in the URL"
        case asyncpg.UndefinedColumnError() | asyncpg.UndefinedTableError():
            return f"the quart_counter tables at {place} are another version's ({words(error)}): name another database"
        case asyncpg.PostgresError():
            return f"{words(error)} at {place}"
        case _:
            return f"{words(error)} at {place}: start it, or name another with --url postgresql://HOST:PORT/DATABASE"


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[PostgresStore]:
    """Connect, create missing tables, read what the server promises, close at the end. Raises ConfigurationError."""
    place = place_of(url)
    store = PostgresStore(url, limits)
    async with aclosing(store):
        try:
            await store.start()
        except DRIVER_ERRORS as error:
            raise ConfigurationError(_why(error, place)) from error
        yield store
