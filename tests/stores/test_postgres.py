"""PostgreSQL's difference: its settings and rights, and what every SQL server's store must do."""

import asyncio
import re
import secrets
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from servers import a_server_of_our_own

from quart_counter.local.process import LocalServer
from quart_counter.model import Applied, Change, Refused
from quart_counter.stores import Limits, open_store, postgres
from quart_counter.stores.base import StoreAway
from quart_counter.stores.postgres.session import DRIVER_ERRORS, translated
from quart_counter.stores.sql import Hopeless, Victim
from stores.contract import fresh
from stores.sql_contract import Backend, SqlServerContract, as_user, sentence


class Postgres(Backend):
    trips, keyed_trips = 3, 4
    crash = signal.SIGQUIT  # "immediate": every process drops dead, and the next start recovers

    async def ask(self, url: str, *statements: str) -> Sequence[Sequence[Any]]:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                rows = await connection.fetch(statement)
            return rows
        finally:
            await connection.close()

    async def connections(self, url: str) -> int:
        where = "application_name = 'quart-counter' AND datname = current_database()"
        return (await self.ask(url, f"SELECT count(*) FROM pg_stat_activity WHERE {where}"))[0][0]

    @asynccontextmanager
    async def holding(self, url: str, name: str) -> AsyncIterator[None]:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                await connection.execute("SELECT FROM quart_counters WHERE name = $1 FOR UPDATE", name)
                yield
        finally:
            await connection.close()


@pytest.fixture
def backend() -> Postgres:
    return Postgres()


@pytest.fixture
def url(postgres_server) -> str:
    return postgres_server.url


@pytest.fixture(scope="module")
def own() -> Iterator[LocalServer]:
    with a_server_of_our_own("postgres") as server:
        yield server


class TestPostgres(SqlServerContract):
    """Everything that every SQL server's store must do."""


async def test_a_counter_that_was_never_begun_goes_with_its_keys(url, backend):
    """Made-up names with keys fill up nothing; what a flush has locked is passed over, and nobody waits."""
    own = await backend.database(url)
    limits = Limits(store_timeout_s=1.0, deadline_s=2.0, key_life_s=0.41)
    refused = [Change(f"never{n}", by=5, limit=1, key="k") for n in range(3)]
    async with open_store(own, limits) as store:
        await store.apply([*refused, Change("begun", key="k")])
        await asyncio.sleep(0.85)
        await store.apply([refused[0], Change("n", key="new")])
        left = await backend.ask(own, "SELECT name FROM quart_counters ORDER BY name")
        assert [name for (name,) in left] == ["begun", "n", "never0"]
        assert await store.apply([refused[0]]) == [Refused("bound", 0, 0, replayed=True)]


async def test_a_wrong_password(own, backend):
    settings = own.folder / "data" / "pg_hba.conf"
    settings.write_text("host all careful 127.0.0.1/32 scram-sha-256\n" + settings.read_text())
    await backend.ask(own.url, "CREATE ROLE careful LOGIN PASSWORD 'hunter3'", "SELECT pg_reload_conf()")
    for _ in range(100):  # the reload takes a moment
        try:
            await (await asyncpg.connect(as_user(own.url, "careful"))).close()
        except asyncpg.PostgresError:
            break
        await asyncio.sleep(0.02)
    assert "refuses this user or password" in await sentence(as_user(own.url, "careful:hunter2"))


async def test_a_database_that_is_not_there(url):
    assert "has no such database" in await sentence(as_user(url, "postgres", "nowhere"))


async def test_a_user_who_may_not_create_tables(url, backend):
    role, empty = f"r{secrets.token_hex(8)}", await backend.database(url)
    await backend.ask(url, f"CREATE ROLE {role} LOGIN")
    assert "permission denied for schema public" in await sentence(as_user(empty, role))


async def test_a_user_who_may_not_write(url, backend):
    role, database = f"r{secrets.token_hex(8)}", await backend.database(url)
    async with open_store(database):
        pass
    await backend.ask(database, f"CREATE ROLE {role} LOGIN", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    assert "lacks INSERT on quart_counters" in await sentence(as_user(database, role))
    await backend.ask(database, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    async with open_store(as_user(database, role)) as store:
        assert await store.apply([Change(fresh())]) == [Applied(1, 1)]


async def test_a_right_that_is_taken_away_later_is_told_as_not_applied(url, backend):
    role, database = f"r{secrets.token_hex(8)}", await backend.database(url)
    async with open_store(database):
        pass
    await backend.ask(database, f"CREATE ROLE {role} LOGIN", f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    async with open_store(as_user(database, role)) as store:
        await backend.ask(database, f"REVOKE UPDATE ON quart_counters FROM {role}")
        (outcome,) = await store.apply([Change(fresh())])
        assert type(outcome).__name__ == "NotApplied"
        assert "permission denied" in outcome.because


async def test_tables_of_another_version(url, backend):
    database = await backend.database(url)
    await backend.ask(
        database,
        "CREATE TABLE quart_counters (name text)",
        "CREATE TABLE quart_counter_keys (name text)",
        "CREATE TABLE quart_counter_flushes (worker text)",
    )
    assert "are another version's" in await sentence(database)


@pytest.mark.parametrize("hosts", ["{0}:{1}", "{0}:{1},{0}:{1}", "127.0.0.1:1,{0}:{1}"])
async def test_one_host_or_several(url, hosts):
    parts = urlsplit(url)
    netloc = f"postgres@{hosts.format(parts.hostname, parts.port)}"
    async with open_store(parts._replace(netloc=netloc).geturl()) as store:
        assert await store.apply([Change(fresh())]) == [Applied(1, 1)]


async def test_a_read_only_server(url, backend):
    database = await backend.database(url)
    name = urlsplit(database).path[1:]
    await backend.ask(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "is read-only (a standby?)" in await sentence(database)


async def test_a_counter_forgotten_between_creation_and_lock_starts_over(url):
    name = fresh()
    async with open_store(url) as store, open_store(url) as other:
        for _ in range(30):
            await store.apply([Change(name)])
            (outcome,), _ = await asyncio.gather(store.apply([Change(name)]), other.forget(name))
            assert outcome in (Applied(2, 2), Applied(1, 1))
            await other.forget(name)


async def test_what_it_promises_is_read_from_the_server(url, backend):
    database = await backend.database(url)
    async with open_store(database) as store:
        assert (store.guarantees.durable, store.guarantees.notes) == ("power_loss", ())
        assert re.fullmatch(r"PostgreSQL \d+(\.\d+)?", store.guarantees.server)
    await backend.ask(url, f"ALTER DATABASE {urlsplit(database).path[1:]} SET synchronous_commit = off")
    async with open_store(database) as store:
        assert store.guarantees.durable == "restart"
        assert "synchronous_commit is off" in store.guarantees.notes[0]


@pytest.mark.parametrize(
    ("settings", "durable"),
    [
        ({"synchronous_commit": "on", "fsync": "on", "full_page_writes": "on"}, "power_loss"),
        ({"synchronous_commit": "local", "fsync": "on", "full_page_writes": "on"}, "power_loss"),
        ({"synchronous_commit": "on", "fsync": "off", "full_page_writes": "on"}, "crash"),
        ({"synchronous_commit": "on", "fsync": "on", "full_page_writes": "off"}, "crash"),
        ({"synchronous_commit": "off", "fsync": "off", "full_page_writes": "off"}, "restart"),
        ({"synchronous_commit": "on", "fsync": None, "full_page_writes": "on"}, "none"),
        ({}, "none"),
    ],
)
def test_each_setting_has_its_price(settings, durable):
    told = postgres._guarantees(settings)
    assert told.durable == durable
    assert (told.notes == ()) == (durable == "power_loss")


def every_error() -> list[type[BaseException]]:
    found = [one for one in vars(asyncpg.exceptions).values() if isinstance(one, type)]
    return [one for one in found if issubclass(one, Exception) and not issubclass(one, Warning)]


@pytest.mark.parametrize("error", every_error(), ids=lambda error: error.__name__)
def test_every_error_of_the_driver_has_a_meaning(error):
    assert issubclass(error, DRIVER_ERRORS)
    with pytest.raises((Victim, Hopeless, StoreAway)), translated():
        raise error("")


@pytest.mark.parametrize(
    ("sqlstate", "severity", "meaning"),
    [
        ("40P01", "ERROR", Victim),
        ("40001", "ERROR", Victim),
        ("55P03", "ERROR", Victim),
        ("57014", "ERROR", Victim),
        ("53100", "ERROR", Hopeless),
        ("42501", "ERROR", Hopeless),
        ("25006", "ERROR", Hopeless),
        ("57P01", "FATAL", StoreAway),
        ("25P03", "FATAL", StoreAway),
        ("53300", "FATAL", StoreAway),
        ("XX000", "PANIC", StoreAway),
    ],
)
def test_what_the_server_says_about_a_transaction(sqlstate, severity, meaning):
    error = asyncpg.PostgresError.new({"C": sqlstate, "V": severity, "M": "words"})
    with pytest.raises(meaning, match="words"), translated():
        raise error
