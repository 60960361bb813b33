"""Tickets: the numbers of committed transactions have no hole, whoever rolls back or dies."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiosqlite
import asyncpg
import pytest

from quart_counter import tickets
from quart_counter.errors import ConfigurationError, InvalidChange, NotApplied
from quart_counter.tickets import create_table, ticket

PATIENCE_S = 30  # for a lock that many wait for


class Postgres:
    """How to connect, begin, and keep books in PostgreSQL."""

    def __init__(self, url: str) -> None:
        self.schema = f"tickets_{uuid4().hex}"  # the server is shared
        self.url = url

    async def connect(self) -> Any:
        return await asyncpg.connect(self.url, server_settings={"search_path": self.schema})

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[None]:
        connection = await asyncpg.connect(self.url)
        await connection.execute(f"CREATE SCHEMA {self.schema}; CREATE TABLE {self.schema}.books (number bigint)")
        yield
        await connection.execute(f"DROP SCHEMA {self.schema} CASCADE")
        await connection.close()

    async def begin(self, connection: Any) -> None:
        await connection.execute("BEGIN")

    async def all(self, connection: Any) -> list[int]:
        return [row[0] for row in await connection.fetch("SELECT number FROM books ORDER BY number")]

    @property
    def program(self) -> tuple[str, str]:
        return f"asyncpg.connect({self.url!r}, server_settings={{'search_path': {self.schema!r}}})", "BEGIN"


class Sqlite:
    """The same in a SQLite file."""

    def __init__(self, folder: Path, journal: str) -> None:
        self.path, self.journal = str(folder / "books.db"), journal

    async def connect(self) -> Any:
        return await aiosqlite.connect(self.path, timeout=PATIENCE_S)

    @asynccontextmanager
    async def prepared(self) -> AsyncIterator[None]:
        async with aiosqlite.connect(self.path) as connection:
            await connection.execute(f"PRAGMA journal_mode={self.journal}")
            await connection.execute("CREATE TABLE books (number bigint)")
        yield

    async def begin(self, connection: Any) -> None:
        await connection.execute("BEGIN IMMEDIATE")

    async def all(self, connection: Any) -> list[int]:
        return [row[0] for row in await connection.execute_fetchall("SELECT number FROM books ORDER BY number")]

    @property
    def program(self) -> tuple[str, str]:
        return f"aiosqlite.connect({self.path!r}, timeout={PATIENCE_S})", "BEGIN IMMEDIATE"


Database = Postgres | Sqlite


@pytest.fixture(params=["postgres", "sqlite-wal", "sqlite-delete"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A database with a table `books`, and that of the tickets."""
    kind, _, journal = request.param.partition("-")
    database = Sqlite(tmp_path, journal) if journal else Postgres(request.getfixturevalue(f"{kind}_server").url)
    async with database.prepared(), opened(database) as connection:
        await create_table(connection)
        yield database


@asynccontextmanager
async def opened(database: Database) -> AsyncIterator[Any]:
    connection = await database.connect()
    try:
        yield connection
    finally:
        await connection.close()


async def book(database: Database, connection: Any, name: str = "invoices", *, keep: bool = True) -> int:
    """One transaction that takes a ticket and writes it down, and then commits or rolls back."""
    await database.begin(connection)
    number = await ticket(name, connection=connection)
    seen = await database.all(connection)
    assert seen == list(range(1, number)), "all numbers before mine are committed: commits come in order"
    await connection.execute(f"INSERT INTO books VALUES ({number})")
    await connection.execute("COMMIT" if keep else "ROLLBACK")
    return number


async def test_a_hundred_transactions_with_rollbacks_leave_no_hole(database):
    fate = random.Random(5)
    keeps = [fate.random() < 0.6 for _ in range(100)]

    async def clerk(share: list[bool]) -> list[int]:
        async with opened(database) as connection:
            return [await book(database, connection, keep=keep) for keep in share]

    await asyncio.gather(*(clerk(keeps[i::10]) for i in range(10)))
    async with opened(database) as connection:
        assert await database.all(connection) == list(range(1, sum(keeps) + 1))


async def test_a_number_that_was_rolled_back_is_the_next_ones(database):
    async with opened(database) as connection:
        assert await book(database, connection) == 1
        assert await book(database, connection, keep=False) == 2
        assert await book(database, connection) == 2


async def test_one_transaction_may_take_several(database):
    async with opened(database) as connection:
        await database.begin(connection)
        assert [await ticket("a", connection=connection) for _ in range(3)] == [1, 2, 3]
        assert await ticket("b", connection=connection) == 1
        await connection.execute("SAVEPOINT here")
        assert await ticket("a", connection=connection) == 4
        await connection.execute("ROLLBACK TO here")
        assert await ticket("a", connection=connection) == 4
        await connection.execute("COMMIT")


CLERK = """
    import asyncio, sys
    import aiosqlite, asyncpg
    from quart_counter.tickets import ticket

    async def main():
        connection = await {connect}
        for _ in range({times}):
            await connection.execute({begin!r})
            number = await ticket("invoices", connection=connection)
            await connection.execute(f"INSERT INTO books VALUES ({{number}})")
            {then}
        await connection.close()

    asyncio.run(main())
"""


def a_process(database: Database, then: str, times: int = 1) -> subprocess.Popen[str]:
    connect, begin = database.program
    script = textwrap.dedent(CLERK).format(connect=connect, begin=begin, times=times, then=then)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


async def test_a_process_killed_in_mid_transaction_leaves_no_hole(database):
    async with opened(database) as connection:
        assert await book(database, connection) == 1
        process = a_process(database, then="print(number, flush=True); await asyncio.sleep(60)")
        assert await asyncio.to_thread(process.stdout.readline) == "2\n"
        next_one = asyncio.create_task(book(database, connection))
        await asyncio.sleep(0.05)
        assert not next_one.done(), "the row is locked until the transaction ends"
        process.send_signal(signal.SIGKILL)
        assert await next_one == 2
        assert await database.all(connection) == [1, 2]
        await asyncio.to_thread(process.communicate)


async def test_two_processes_share_the_numbers(database):
    processes = [a_process(database, then='await connection.execute("COMMIT")', times=25) for _ in range(2)]
    for process in processes:
        await asyncio.to_thread(process.communicate)
        assert process.returncode == 0
    async with opened(database) as connection:
        assert await database.all(connection) == list(range(1, 51))


# ------------------------------------------------------------------------------------------------------- error cases


async def test_without_a_transaction_there_is_no_ticket(database):
    async with opened(database) as connection:
        with pytest.raises(InvalidChange, match=r"no transaction is open .* take it (inside|after) `"):
            await ticket("invoices", connection=connection)
        assert await book(database, connection) == 1, "nothing was counted"


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ünvoices", None, 7])
async def test_a_bad_name_is_refused(database, name):
    async with opened(database) as connection:
        await database.begin(connection)
        with pytest.raises(InvalidChange, match="no counter name"):
            await ticket(name, connection=connection)
        await connection.execute("ROLLBACK")


async def test_a_missing_table_is_told_with_its_remedy(database):
    async with opened(database) as connection:
        await connection.execute(f"DROP TABLE {tickets.TABLE}")
        await database.begin(connection)
        with pytest.raises(ConfigurationError, match=r"await create_table\(connection\)"):
            await ticket("invoices", connection=connection)
        await connection.execute("ROLLBACK")


async def test_other_errors_of_the_driver_pass_through(database):
    async with opened(database) as connection:
        await connection.execute(f"DROP TABLE {tickets.TABLE}")
        await connection.execute(f"CREATE TABLE {tickets.TABLE} (nonsense int)")
        await database.begin(connection)
        with pytest.raises((asyncpg.UndefinedColumnError, sqlite3.OperationalError), match="name"):
            await ticket("invoices", connection=connection)
        await connection.execute("ROLLBACK")


async def test_the_table_can_be_created_by_many_at_once(database):
    async def create() -> None:
        async with opened(database) as connection:
            await create_table(connection)

    async with opened(database) as connection:
        await connection.execute(f"DROP TABLE {tickets.TABLE}")
        await asyncio.gather(*(create() for _ in range(8)))
        assert await book(database, connection) == 1


async def test_the_table_belongs_to_the_transaction_it_was_created_in(database):
    async with opened(database) as connection:
        await connection.execute(f"DROP TABLE {tickets.TABLE}")
        await database.begin(connection)
        await create_table(connection)
        await connection.execute("ROLLBACK")
        await database.begin(connection)
        with pytest.raises(ConfigurationError):
            await ticket("invoices", connection=connection)
        await connection.execute("ROLLBACK")


@pytest.mark.parametrize("make", [object, lambda: sqlite3.connect(":memory:")], ids=["object", "sqlite3"])
async def test_another_connection_is_refused(make: Callable[[], Any]):
    connection = make()
    for call in (ticket("invoices", connection=connection), create_table(connection)):
        with pytest.raises(InvalidChange, match="give one of asyncpg or aiosqlite"):
            await call
    if isinstance(connection, sqlite3.Connection):
        connection.close()


def test_the_module_needs_no_driver():
    line = "import sys; import quart_counter.tickets; assert not {'asyncpg', 'aiosqlite', 'quart'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", line], check=True)


# -------------------------------------------------------------------------------------------------- PostgreSQL's own


@pytest.fixture
async def postgres(postgres_server: Any) -> AsyncIterator[Postgres]:
    database = Postgres(postgres_server.url)
    async with database.prepared(), opened(database) as connection:
        await create_table(connection)
        yield database


async def test_a_connection_of_a_pool_and_asyncpgs_own_transaction(postgres):
    settings = {"search_path": postgres.schema}
    async with asyncpg.create_pool(postgres.url, min_size=1, max_size=2, server_settings=settings) as pool:
        async with pool.acquire() as connection:
            async with connection.transaction():
                assert await ticket("invoices", connection=connection) == 1
            with suppress(ZeroDivisionError):
                async with connection.transaction():
                    assert await ticket("invoices", connection=connection) == 2
                    raise ZeroDivisionError
            async with connection.transaction():
                assert await ticket("invoices", connection=connection) == 2
        async with pool.acquire() as connection:
            await create_table(connection)
            with pytest.raises(InvalidChange, match="no transaction"):
                await ticket("invoices", connection=connection)


async def test_the_first_ticket_of_all_may_be_rolled_back_under_somebody_who_waits(postgres):
    async with opened(postgres) as one, opened(postgres) as other:
        await postgres.begin(one)
        assert await ticket("invoices", connection=one) == 1
        waiting = asyncio.create_task(book(postgres, other))
        await asyncio.sleep(0.05)
        await one.execute("ROLLBACK")
        assert await waiting == 1


async def test_a_stricter_isolation_is_postgres_business(postgres):
    async with opened(postgres) as one, opened(postgres) as other:
        transaction = one.transaction(isolation="repeatable_read")
        await transaction.start()
        await one.fetchval("SELECT 1")
        await book(postgres, other)
        with pytest.raises(asyncpg.SerializationError):
            await ticket("invoices", connection=one)
        await transaction.rollback()


# ------------------------------------------------------------------------------------------------------ SQLite's own


@pytest.fixture(params=["wal", "delete"])
async def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Sqlite]:
    database = Sqlite(tmp_path, request.param)
    async with database.prepared(), opened(database) as connection:
        await create_table(connection)
        yield database


def impatient(sqlite: Sqlite) -> AbstractAsyncContextManager[aiosqlite.Connection]:
    return aiosqlite.connect(sqlite.path, timeout=0)


@pytest.mark.parametrize("reads_first", [True, False])
async def test_a_deferred_transaction_that_cannot_write_is_told_to_begin_immediate(sqlite, reads_first):
    async with opened(sqlite) as one, impatient(sqlite) as other:
        await other.execute("BEGIN")
        if reads_first:
            await sqlite.all(other)
        await sqlite.begin(one)
        assert await ticket("invoices", connection=one) == 1
        with pytest.raises(NotApplied, match="begin it with BEGIN IMMEDIATE"):
            await ticket("invoices", connection=other)
        await other.execute("ROLLBACK")
        await one.execute("COMMIT")
        assert await book(sqlite, other, name="others") == 1


async def test_a_snapshot_that_is_too_old_is_told_the_same(sqlite):
    async with opened(sqlite) as one, opened(sqlite) as other:
        await other.execute("BEGIN")
        cursor = await other.execute("SELECT * FROM books")
        await cursor.fetchall()
        await cursor.close()
        if sqlite.journal == "wal":  # without, a reader keeps writers out
            await book(sqlite, one)
            with pytest.raises(NotApplied, match="BEGIN IMMEDIATE"):
                await ticket("invoices", connection=other)
        await other.execute("ROLLBACK")


@pytest.mark.parametrize("factory", [None, sqlite3.Row, lambda cursor, row: {"it": row}], ids=["none", "Row", "own"])
async def test_any_row_factory_will_do(sqlite, factory):
    async with opened(sqlite) as connection:
        connection.row_factory = factory
        await sqlite.begin(connection)
        assert await ticket("invoices", connection=connection) == 1
        assert connection.row_factory is factory
        await connection.execute("COMMIT")


async def test_pythons_implicit_transaction_is_one_too(sqlite):
    async with opened(sqlite) as connection:
        await connection.execute("INSERT INTO books VALUES (1)")
        assert await ticket("invoices", connection=connection) == 1
        await connection.commit()
