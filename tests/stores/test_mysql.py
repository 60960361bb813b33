"""MySQL's and MariaDB's difference: settings and rights, and what every SQL server's store must do."""

import secrets
import signal
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiomysql
import pymysql.err
import pytest
from servers import a_server_of_our_own

from quart_counter.local.process import LocalServer
from quart_counter.model import Applied, Change
from quart_counter.stores import Limits, mysql, open_store
from quart_counter.stores.base import StoreAway
from quart_counter.stores.mysql.session import DRIVER_ERRORS, connect, translated
from quart_counter.stores.sql import Hopeless, Victim
from stores.contract import fresh
from stores.sql_contract import Backend, SqlServerContract, as_user, sentence


class Mysql(Backend):
    trips = keyed_trips = 2
    crash = signal.SIGKILL

    async def ask(self, url: str, *statements: str) -> Sequence[Sequence[Any]]:
        session = await connect(mysql._address(url), Limits())
        try:
            return (await session.run(statements))[-1]
        finally:
            session.terminate()

    async def connections(self, url: str) -> int:
        database = urlsplit(url).path[1:]
        question = f"SELECT count(*) - 1 FROM information_schema.processlist WHERE db = '{database}'"
        return (await self.ask(url, question))[0][0]  # without the one that asks

    @asynccontextmanager
    async def holding(self, url: str, name: str) -> AsyncIterator[None]:
        session = await connect(mysql._address(url), Limits(store_timeout_s=60))
        try:
            await session.run(["BEGIN", f"SELECT * FROM quart_counters WHERE name = '{name}' FOR UPDATE"])
            yield
        finally:
            session.terminate()


@pytest.fixture
def backend() -> Mysql:
    return Mysql()


@pytest.fixture
def url(mariadb_server) -> str:
    return mariadb_server.url


@pytest.fixture(scope="module")
def own() -> Iterator[LocalServer]:
    with a_server_of_our_own("mariadb") as server:
        yield server


class TestMysql(SqlServerContract):
    """Everything that every SQL server's store must do."""


async def test_an_ordinary_user_with_a_password(url):
    async with open_store(as_user(url, "counter:counter")) as store:
        assert await store.apply([Change(fresh())]) == [Applied(1, 1)]


async def test_a_password_beyond_latin_1(url, backend):
    user = f"u{secrets.token_hex(8)}"
    await backend.ask(
        url, f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'pässwörd→/@'", f"GRANT ALL ON *.* TO {user}@'127.0.0.1'"
    )
    async with open_store(as_user(url, f"{user}:p%C3%A4ssw%C3%B6rd%E2%86%92%2F%40")) as store:
        assert await store.apply([Change(fresh())]) == [Applied(1, 1)]


async def test_a_wrong_password(url):
    assert "refuses this user or password" in await sentence(as_user(url, "counter:hunter2"))


async def test_a_database_that_is_not_there(url):
    assert "has no database nowhere: run CREATE DATABASE" in await sentence(as_user(url, "root", "nowhere"))


async def test_a_database_that_is_not_ours(url):
    assert "refuses (Access denied" in await sentence(as_user(url, "counter:counter", "mysql"))


async def test_a_user_who_may_not_write(url, backend):
    user, database = f"u{secrets.token_hex(8)}", await backend.database(url)
    await backend.ask(url, f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'hunter2'")
    await backend.ask(database, f"GRANT SELECT ON {urlsplit(database).path[1:]}.* TO {user}@'127.0.0.1'")
    assert "INSERT command denied" in await sentence(as_user(database, f"{user}:hunter2"))  # nor create the tables
    async with open_store(database):
        pass
    assert "INSERT command denied" in await sentence(as_user(database, f"{user}:hunter2"))


async def test_tables_of_another_version(url, backend):
    database = await backend.database(url)
    await backend.ask(database, "CREATE TABLE quart_counters (name VARCHAR(64))")
    assert "are another version's" in await sentence(database)


async def test_a_table_without_transactions(url, backend):
    database = await backend.database(url)
    async with open_store(database):
        pass
    await backend.ask(database, "ALTER TABLE quart_counters ENGINE = Aria")
    assert "quart_counters is a table of Aria, without transactions" in await sentence(database)


async def test_tls_that_the_server_does_not_offer_is_not_done_without(url):
    assert "does not offer TLS" in await sentence(f"{url}?ssl=true")


@pytest.mark.parametrize("rest", ["", "db?ssl=maybe", "db?colour=red", "db?ssl"])
async def test_a_url_without_a_database_or_with_unknown_options(rest):
    assert "the MySQL URL is malformed" in await sentence(f"mysql://somebody:hunter2@127.0.0.1/{rest}")


@pytest.mark.parametrize(
    ("changed", "durable"),
    [
        ({}, "power_loss"),
        ({"innodb_flush_log_at_trx_commit": "2"}, "crash"),
        ({"innodb_flush_log_at_trx_commit": "0"}, "restart"),
        ({"innodb_flush_log_at_trx_commit": "0", "innodb_doublewrite": "OFF"}, "restart"),
        ({"innodb_doublewrite": "OFF"}, "crash"),
        ({"log_bin": "ON", "sync_binlog": "0"}, "crash"),
        ({"log_bin": "ON", "sync_binlog": "1"}, "power_loss"),
    ],
)
def test_each_setting_has_its_price(changed, durable):
    good = {"innodb_flush_log_at_trx_commit": "1", "innodb_doublewrite": "ON", "log_bin": "OFF", "sync_binlog": "0"}
    told = mysql._guarantees({**good, **changed})
    assert told.durable == durable
    assert (told.notes == ()) == (durable == "power_loss")


def test_what_cannot_be_read_counts_as_none():
    assert mysql._guarantees({}).durable == "none"


async def test_what_it_promises_is_read_from_the_server(own, backend):
    async with open_store(own.url) as store:
        assert (store.guarantees.durable, store.guarantees.notes) == ("power_loss", ())
        assert store.guarantees.server.startswith("MariaDB 1")
    await backend.ask(own.url, "SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    async with open_store(own.url) as store:
        assert store.guarantees.durable == "crash"
    await backend.ask(own.url, "SET GLOBAL innodb_flush_log_at_trx_commit = 1")


async def test_a_read_only_server(own, backend):
    await backend.ask(own.url, "SET GLOBAL read_only = ON")
    try:
        assert "is read-only (a replica?)" in await sentence(own.url)
    finally:
        await backend.ask(own.url, "SET GLOBAL read_only = OFF")


def every_error() -> list[type[BaseException]]:
    found = [one for module in (aiomysql, pymysql.err) for one in vars(module).values() if isinstance(one, type)]
    return sorted({one for one in found if issubclass(one, Exception)}, key=lambda error: error.__name__)


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_of_the_driver_has_a_meaning(error):
    assert issubclass(error, DRIVER_ERRORS) or error is struct.error
    with pytest.raises((Victim, Hopeless, StoreAway)), translated():
        raise error("")


@pytest.mark.parametrize(
    ("number", "meaning"),
    [
        (1213, Victim),
        (1205, Victim),
        (1969, Victim),
        (1114, Hopeless),
        (1142, Hopeless),
        (1290, Hopeless),
        (1040, StoreAway),
        (1053, StoreAway),
        (1927, StoreAway),
        (2003, StoreAway),
        (2006, StoreAway),
        (2013, StoreAway),
        (4031, StoreAway),
    ],
)
def test_what_the_server_says_about_a_transaction(number, meaning):
    with pytest.raises(meaning, match="words"), translated():
        raise pymysql.err.OperationalError(number, "words")
