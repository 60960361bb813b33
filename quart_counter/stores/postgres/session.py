"""A flush in PostgreSQL's own SQL: `sql.Session` over one asyncpg connection, and what asyncpg's errors mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]

from quart_counter.stores.base import Limits, StoreAway
from quart_counter.stores.sql import SWEEP, Hopeless, Loaded, Receipt, Rows, Victim, literal, values

DRIVER_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

NOW_MS: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
LOAD: Final = (
    f"SELECT {NOW_MS}, name, value, version, generation, newer, older FROM quart_counters WHERE name = ANY ($1)"
)
LOAD_KEYS: Final = (
    "SELECT name, key, record FROM quart_counter_keys JOIN unnest($1::text[], $2::text[]) AS asked (name, key) "
    "USING (name, key) WHERE expires_ms > $3"
)
SAW: Final = "SELECT saw FROM quart_counter_flushes WHERE worker = $1 AND number = $2"
COLUMNS: Final = ("value", "version", "generation", "newer", "older")
UPDATE: Final = f"UPDATE quart_counters AS c SET {', '.join(f'{column} = n.{column}' for column in COLUMNS)}"
INSTEAD_OF_ENDED: Final = (
    "ON CONFLICT (name, key) DO UPDATE SET record = excluded.record, expires_ms = excluded.expires_ms"
)
INSTEAD_OF_THE_LAST: Final = (
    "ON CONFLICT (worker) DO UPDATE SET number = excluded.number, saw = excluded.saw, expires_ms = excluded.expires_ms"
)
# A counter that was never begun holds only keys, and goes with the last of them: made-up names fill up nothing. Locked
# rows are passed over, so a sweep waits for nobody.
SWEEP_UP: Final = (
    "WITH ended AS (DELETE FROM quart_counter_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM quart_counter_keys "
    f"WHERE expires_ms <= {{expired_ms}} LIMIT {SWEEP} FOR UPDATE SKIP LOCKED)) RETURNING name) "
    "DELETE FROM quart_counters WHERE ctid = ANY (ARRAY(SELECT c.ctid FROM quart_counters AS c "
    "WHERE c.name IN (SELECT name FROM ended) AND c.version = 0 AND NOT EXISTS (SELECT FROM quart_counter_keys AS k "
    "WHERE k.name = c.name AND k.expires_ms > {expired_ms}) FOR UPDATE SKIP LOCKED))"
)
DROP_RECEIPT: Final = "DELETE FROM quart_counter_flushes WHERE worker = $1"

_VICTIMS: Final = ("40001", "40P01", "55P03", "57014")  # serialization, deadlock, lock_timeout, statement_timeout


class PostgresSession:
    """`sql.Session` over one asyncpg connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def begin(self, names: Mapping[str, Sequence[str]]) -> Loaded:
        """Lock in one statement, load in the next: only one begun behind the locks sees all that went before."""
        asked = [(name, key) for name, keys in names.items() for key in keys]
        with translated():
            await self._connection.execute(_lock(names))
            rows = await self._connection.fetch(LOAD, list(names))
            if len(rows) < len(names):
                raise Victim("a counter was forgotten between its creation and its lock")
            now_ms = rows[0][0]
            keys = await self._connection.fetch(LOAD_KEYS, *zip(*asked, strict=True), now_ms) if asked else []
        return Loaded(now_ms, [tuple(row)[1:] for row in rows], keys)

    async def saw(self, worker: str, number: int) -> str | None:
        """Return what the receipt of this flush says, if there is one."""
        with translated():
            saw: str | None = await self._connection.fetchval(SAW, worker, number)
            return saw

    async def commit(self, rows: Rows, receipt: Receipt, expired_ms: int | None) -> None:
        """Write all and commit, in one round trip."""
        with translated():
            await self._connection.execute(_write(rows, receipt, expired_ms))

    async def rollback(self) -> None:
        """End the transaction without a trace."""
        with translated():
            await self._connection.execute("ROLLBACK")

    async def aclose(self, worker: str) -> None:
        """Delete the worker's receipt and say goodbye."""
        with translated():
            await self._connection.execute(DROP_RECEIPT, worker)
            await self._connection.close()

    def terminate(self) -> None:
        """Cut the connection."""
        self._connection.terminate()


def _lock(names: Iterable[str]) -> str:
    """Begin, make the counters exist, and lock them, all in name order."""
    array = f"ARRAY[{', '.join(map(literal, names))}]::text[]"
    return (
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; "
        f"INSERT INTO quart_counters (name) SELECT unnest({array}) ON CONFLICT DO NOTHING; "
        f"SELECT FROM quart_counters WHERE name = ANY ({array}) ORDER BY name FOR UPDATE"
    )


def _write(rows: Rows, receipt: Receipt, expired_ms: int | None) -> str:
    """Write everything and commit. A key may lie there already when its life is over."""
    statements = [
        f"{UPDATE} FROM (VALUES {values(rows.counters)}) AS n (name, {', '.join(COLUMNS)}) WHERE c.name = n.name",
        f"INSERT INTO quart_counter_flushes VALUES {values([receipt])} {INSTEAD_OF_THE_LAST}",
    ]
    if rows.keys:
        statements.append(f"INSERT INTO quart_counter_keys VALUES {values(rows.keys)} {INSTEAD_OF_ENDED}")
    if expired_ms is not None:
        statements.append(SWEEP_UP.format(expired_ms=expired_ms))
    return "; ".join([*statements, "COMMIT"])


def session_settings(limits: Limits) -> dict[str, str]:
    """The server gives up before we do, and frees the locks of a worker that fell silent in mid-transaction."""
    try_ms = 1000 * limits.store_timeout_s
    return {
        "application_name": "quart-counter",
        "lock_timeout": f"{0.6 * try_ms:.0f}",
        "statement_timeout": f"{0.8 * try_ms:.0f}",
        "idle_in_transaction_session_timeout": f"{try_ms:.0f}",
        "standard_conforming_strings": "on",
    }


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into what they mean for a transaction. An ERROR undoes it; a FATAL one may come late."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if error.sqlstate in _VICTIMS:
            raise Victim(words(error)) from error
        if error.severity_en == "ERROR":
            raise Hopeless(words(error)) from error
        raise StoreAway(words(error)) from error
    except DRIVER_ERRORS as error:
        raise StoreAway(words(error)) from error


def words(error: BaseException) -> str:
    first_line = str(error).partition("\n")[0] or type(error).__name__
    kind = "refuses" if isinstance(error, asyncpg.PostgresError) else "does not answer"
    return f"PostgreSQL {kind} ({first_line})"
