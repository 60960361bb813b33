"""Counters in MySQL or MariaDB (InnoDB), through aiomysql: atomic across processes and hosts.

A flush is one transaction in two round trips: lock the rows in name order and load them; run the model; write and
commit. A flush whose COMMIT was not answered is sent again and finds its receipt (see `sql.Flusher`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from quart_counter.errors import ConfigurationError
from quart_counter.model import Change, Outcome, Reading
from quart_counter.stores.base import Durability, Guarantees, Limits, StoreAway
from quart_counter.stores.mysql.reads import Reads
from quart_counter.stores.mysql.session import COUNTERS, NOW_MS, Address, connect, number_of
from quart_counter.stores.sql import OPENING_S, Flusher, Hopeless, Victim, literal

SCHEMA: Final = files("quart_counter.stores.mysql").joinpath("schema.sql").read_text()
SETTINGS: Final = (
    "innodb_flush_log_at_trx_commit",
    "innodb_doublewrite",
    "log_bin",
    "sync_binlog",
    "binlog_format",
    "read_only",
    "version",
)
_KEYS: Final = "name, `key`, record, expires_ms"
_FLUSHES: Final = "worker, number, saw, expires_ms"
# What a flush will do, done to no row: if a table, a column or our right to it is missing, we hear of it at the start.
REHEARSAL: Final = (
    f"INSERT INTO quart_counters ({COUNTERS}) SELECT {COUNTERS} FROM quart_counters WHERE 1 = 0",
    "UPDATE quart_counters SET version = version WHERE 1 = 0",
    "DELETE FROM quart_counters WHERE 1 = 0",
    f"INSERT INTO quart_counter_keys ({_KEYS}) SELECT {_KEYS} FROM quart_counter_keys WHERE 1 = 0",
    "DELETE FROM quart_counter_keys WHERE 1 = 0",
    f"INSERT INTO quart_counter_flushes ({_FLUSHES}) SELECT {_FLUSHES} FROM quart_counter_flushes WHERE 1 = 0",
    f"DELETE FROM quart_counter_flushes WHERE expires_ms < {NOW_MS}",  # this one is meant, for workers long gone
)
NO_SUCH_TABLE: Final = 1146


class MysqlStore:
    """Counters shared by every process that reaches one MySQL; right with any number of workers and hosts."""

    def __init__(self, address: Address, limits: Limits) -> None:
        self._address, self._limits = address, limits
        self._flusher = Flusher(partial(connect, address, limits), "MySQL", limits)
        self._reads = Reads(address, limits)
        self.guarantees = _guarantees({})

    async def start(self) -> None:
        """Read the server's settings, create missing tables, see that they may be used. Raises what a session does."""
        opening = Reads(self._address, replace(self._limits, store_timeout_s=OPENING_S))
        try:
            self.guarantees = _guarantees(await _settings(opening))
            await _lay_out(opening)
        finally:
            await opening.aclose()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order, in one transaction; one flush at a time."""
        return await self._flusher.apply(changes)

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment, on a connection that carries no flush."""
        (rows,) = await self._ask(f"SELECT value, version FROM quart_counters WHERE name = {literal(name)}")
        return Reading(*rows[0]) if rows else Reading()

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, all of one moment."""
        where = f"name IN ({', '.join(map(literal, names)) or 'NULL'})"
        (rows,) = await self._ask(f"SELECT name, value, version FROM quart_counters WHERE {where}")
        found = {name: Reading(*reading) for name, *reading in rows}
        return [found.get(name, Reading()) for name in names]

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        where = f"name > {literal(after)} AND version > 0"
        (rows,) = await self._ask(f"SELECT name FROM quart_counters WHERE {where} ORDER BY name LIMIT {limit:d}")
        return [name for (name,) in rows]

    async def forget(self, name: str) -> None:
        """Remove a counter and its keys."""
        where = f"WHERE name = {literal(name)}"
        await self._ask(
            "START TRANSACTION",
            f"DELETE FROM quart_counters {where}",
            f"DELETE FROM quart_counter_keys {where}",
            "COMMIT",
        )

    async def _ask(self, *statements: str) -> list[Sequence[Any]]:
        try:
            return await self._reads.run(*statements)
        except (Victim, Hopeless) as error:
            raise StoreAway(str(error)) from error

    async def aclose(self) -> None:
        """Close every connection."""
        await self._flusher.aclose()
        await self._reads.aclose()


async def _settings(server: Reads) -> Mapping[str, str]:
    """Ask for what the guarantees depend on. Raises ConfigurationError for a server that cannot be used at all."""
    (rows,) = await server.run(f"SHOW VARIABLES WHERE Variable_name IN ({', '.join(map(literal, SETTINGS))})")
    settings: dict[str, str] = dict(rows)
    if settings.get("read_only") not in (None, "OFF"):
        raise ConfigurationError("this MySQL is read-only (a replica?): name the primary in the URL")
    if settings.get("log_bin") == "ON" and settings.get("binlog_format") == "STATEMENT":
        raise ConfigurationError("this MySQL has binlog_format = STATEMENT: set it to ROW or MIXED")
    return settings


async def _lay_out(server: Reads) -> None:
    """Create the tables unless they are there, and see that they are as a flush needs them."""
    try:
        await server.run(*REHEARSAL)
    except Hopeless as error:
        if number_of(error.__cause__) != NO_SUCH_TABLE:
            raise
        await server.run(SCHEMA.rstrip("\n;"), "SELECT 1")  # aiomysql makes Python warnings of a last statement's notes
        await server.run(*REHEARSAL)
    question = "SELECT engine FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = "
    (((engine,),),) = await server.run(f"{question} 'quart_counters'")
    if engine != "InnoDB":
        raise ConfigurationError(f"quart_counters is a table of {engine}, without transactions: make it one of InnoDB")


def _guarantees(settings: Mapping[str, str]) -> Guarantees:
    """State what this server, as configured, keeps; `settings` are empty before it was asked."""
    flush = settings.get("innodb_flush_log_at_trx_commit", "cannot be read")
    durable: Durability = {"0": "restart", "1": "power_loss", "2": "crash", "3": "power_loss"}.get(flush, "none")  # type: ignore[assignment]
    notes = []
    if durable != "power_loss":
        notes.append(f"innodb_flush_log_at_trx_commit is {flush}: the last second may be lost; set it to 1")
    if settings.get("log_bin") == "ON" and settings.get("sync_binlog") != "1":
        notes.append("sync_binlog is not 1: a power cut may lose the last answered changes; set it to 1")
    if settings.get("innodb_doublewrite", "ON") in ("0", "OFF", "DETECT_ONLY"):
        notes.append("innodb_doublewrite is off: a power cut may damage pages")
    if notes and durable == "power_loss":
        durable = "crash"
    return Guarantees(
        scope="network",
        atomic=True,
        durable=durable,
        exactly_once=True,
        versioned=True,
        gapless=True,
        notes=tuple(notes),
        server=_server(settings.get("version", "?")),
    )


def _server(version: str) -> str:
    number, _, rest = version.partition("-")
    return f"{'MariaDB' if 'MariaDB' in rest else 'MySQL'} {number}"


def _address(url: str) -> Address:
    """Take a URL apart. What is malformed is not quoted: it may be a secret."""
    try:
        parts = urlsplit(url)
        database, options = (
            unquote(parts.path.removeprefix("/")),
            parse_qs(parts.query, strict_parsing=bool(parts.query)),
        )
        if not database or "@" in parts.path + parts.fragment or options not in ({}, {"ssl": ["true"]}):
            raise ValueError
        user, password = unquote(parts.username or "root"), unquote(parts.password or "")
        return Address(parts.hostname or "127.0.0.1", parts.port or 3306, user, password, database, tls=bool(options))
    except ValueError:
        raise ConfigurationError(
            "the MySQL URL is malformed: write mysql://USER:PASSWORD@HOST:PORT/DATABASE, at most with ?ssl=true, and "
            "%XX for characters like # / @ in the password"
        ) from None


def _why(error: Exception, address: Address) -> str:
    place = f"{address.host}:{address.port}"
    match number_of(error.__cause__ or error):
        case 1045 | 1698:
            return f"MySQL at {place} refuses this user or password: mend them in the URL"
        case 1049:
            return (
                f"MySQL at {place} has no database {address.database}: run CREATE DATABASE, or name another in the URL"
            )
        case 1044 | 1142:
            return f"{error} at {place}: GRANT it to this user, or name another in the URL"
        case 1054:
            return f"the quart_counter tables at {place} are another version's ({error}): name another database"
        case number if 1000 <= number < 2000:
            return f"{error} at {place}"
    return f"{error} at {place}: start it, or name another with --url mysql://HOST:PORT/DATABASE"


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[MysqlStore]:
    """Connect, create missing tables, read what the server promises, close at the end. Raises ConfigurationError."""
    address = _address(url)
    store = MysqlStore(address, limits)
    async with aclosing(store):
        try:
            await store.start()
        except (Victim, Hopeless, StoreAway) as error:
            raise ConfigurationError(_why(error, address)) from error
        yield store
