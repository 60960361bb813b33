"""A flush in MySQL's and MariaDB's own SQL: `sql.Session` over one aiomysql connection, and what its errors mean."""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import aiomysql  # type: ignore[import-untyped]

from quart_counter.stores.base import Limits, StoreAway
from quart_counter.stores.sql import SWEEP, Hopeless, Loaded, Receipt, Rows, Victim, literal, values

# RuntimeError: PyMySQL says so that the package cryptography is missing for MySQL 8's way of logging in.
DRIVER_ERRORS: Final = (aiomysql.MySQLError, OSError, EOFError, RuntimeError)

NOW_MS: Final = "CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)"
COUNTERS: Final = "name, value, version, generation, newer, older"

# Deadlock; lock wait timeout (which undoes only the statement, so the connection and all of it is given up); query
# interrupted; statement timeout in MariaDB and in MySQL; record changed since it was read (MariaDB's snapshots).
_VICTIMS: Final = (1213, 1205, 1317, 1969, 3024, 1020)
# Too many connections; shutting down; killed; networks; too long idle. The numbers from 2000 to 2999 are the client's.
_LOST: Final = (1040, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1203, 1226, 1927, 4031)


class Address(NamedTuple):
    """Where the server is and who we are there; what a URL says."""

    host: str
    port: int
    user: str
    password: str
    database: str
    tls: bool


class MysqlSession:
    """`sql.Session` over one aiomysql connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def begin(self, names: Mapping[str, Sequence[str]]) -> Loaded:
        """Begin, make the counters exist and so lock them, then load: one round trip.

        The INSERT locks a row that exists exclusively; INSERT IGNORE would share the lock, and two sharers who then
        both want to write are a deadlock.
        """
        new = values((name,) for name in names)
        where = f"name IN ({', '.join(map(literal, names))})"
        statements = [
            "START TRANSACTION READ WRITE",
            f"INSERT INTO quart_counters (name) VALUES {new} ON DUPLICATE KEY UPDATE version = version",
            f"SELECT {NOW_MS}, {COUNTERS} FROM quart_counters WHERE {where} ORDER BY name FOR UPDATE",
        ]
        if any(names.values()):
            statements.append(_load_keys(names))
        _, _, rows, *keys = await self.run(statements)
        return Loaded(rows[0][0], [row[1:] for row in rows], keys[0] if keys else [])

    async def saw(self, worker: str, number: int) -> str | None:
        """Return what the receipt of this flush says, if there is one."""
        where = f"worker = {literal(worker)} AND number = {number}"
        (rows,) = await self.run([f"SELECT saw FROM quart_counter_flushes WHERE {where}"])
        return rows[0][0] if rows else None

    async def commit(self, rows: Rows, receipt: Receipt, expired_ms: int | None) -> None:
        """Write all and commit, in one round trip. A key may lie there already when its life is over."""
        statements = [
            f"REPLACE INTO quart_counters ({COUNTERS}) VALUES {values(rows.counters)}",
            f"REPLACE INTO quart_counter_flushes (worker, number, saw, expires_ms) VALUES {values([receipt])}",
        ]
        if rows.keys:
            statements.append(
                f"REPLACE INTO quart_counter_keys (name, `key`, record, expires_ms) VALUES {values(rows.keys)}"
            )
        if expired_ms is not None:
            statements.append(f"DELETE FROM quart_counter_keys WHERE expires_ms <= {expired_ms} LIMIT {SWEEP}")
        done: list[Sequence[Any]] = []
        try:
            await self.run([*statements, "COMMIT"], done)
        except Hopeless as error:
            if len(done) == len(statements):  # it was COMMIT itself that failed: only the receipt tells
                raise StoreAway(str(error)) from error
            raise

    async def rollback(self) -> None:
        """End the transaction without a trace."""
        await self.run(["ROLLBACK"])

    async def aclose(self, worker: str) -> None:
        """Delete the worker's receipt and say goodbye."""
        await self.run([f"DELETE FROM quart_counter_flushes WHERE worker = {literal(worker)}"])
        with translated():
            await self._connection.ensure_closed()

    def terminate(self) -> None:
        """Cut the connection."""
        self._connection.close()

    async def run(self, statements: Sequence[str], done: list[Sequence[Any]] | None = None) -> list[Sequence[Any]]:
        """Send all statements in one trip and return the rows of each, also in `done` as they come in."""
        results = [] if done is None else done
        with translated():
            cursor = await self._connection.cursor()
            await cursor.execute("; ".join(statements))
            results.append(await cursor.fetchall())
            while await cursor.nextset():
                results.append(await cursor.fetchall())
        return results


def _load_keys(names: Mapping[str, Sequence[str]]) -> str:
    asked = " OR ".join(
        f"(name = {literal(name)} AND `key` IN ({', '.join(map(literal, keys))}))"
        for name, keys in names.items()
        if keys
    )
    return f"SELECT name, `key`, record FROM quart_counter_keys WHERE ({asked}) AND expires_ms > {NOW_MS}"


async def connect(address: Address, limits: Limits) -> MysqlSession:
    """Log in and set the session up. Raises Victim, Hopeless and StoreAway."""
    with translated():
        connection = await aiomysql.connect(
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password.encode().decode("latin-1"),  # aiomysql encodes it in Latin-1, the server in UTF-8
            db=address.database,
            charset="utf8mb4",
            autocommit=True,
            ssl=ssl.create_default_context() if address.tls else None,
        )
    session = MysqlSession(connection)
    try:
        await session.run(_set_up(limits))
        if address.tls and not (await session.run(["SHOW SESSION STATUS LIKE 'Ssl_cipher'"]))[0][0][1]:
            raise Hopeless("the server does not offer TLS")  # aiomysql would go on in the clear
    except BaseException:
        session.terminate()
        raise
    return session


def _set_up(limits: Limits) -> list[str]:
    """Without backslashes a literal is safe; UTC never jumps; MariaDB frees the locks of a worker that fell silent."""
    lock_wait_s = math.ceil(0.6 * limits.store_timeout_s)
    variables = {
        "sql_mode": "'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION'",
        "time_zone": "'+00:00'",
        "innodb_lock_wait_timeout": lock_wait_s,
    }
    in_mariadb = {"max_statement_time": 0.8 * limits.store_timeout_s, "idle_transaction_timeout": lock_wait_s}
    return [
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
        f"SET SESSION {_assignments(variables)} /*M!100300 , {_assignments(in_mariadb)} */",
    ]


def _assignments(variables: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in variables.items())


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into what they mean for a transaction."""
    try:
        yield
    except DRIVER_ERRORS as error:
        number = number_of(error)
        if number in _VICTIMS:
            raise Victim(words(error)) from error
        if 1000 <= number < 2000 or number >= 3000:
            raise (StoreAway if number in _LOST else Hopeless)(words(error)) from error
        raise StoreAway(words(error)) from error


def number_of(error: BaseException | None) -> int:
    """Return the error's number in MySQL's list, 0 if it has none."""
    number = error.args[0] if isinstance(error, aiomysql.MySQLError) and error.args else 0
    return number if isinstance(number, int) else 0


def words(error: BaseException) -> str:
    """Say in a sentence what went wrong; the server's words name a user, never a password."""
    kind = "does not answer" if number_of(error) in (0, *range(2000, 3000)) else "refuses"
    return f"MySQL {kind} ({error.args[-1] if error.args else type(error).__name__})"
