"""What a store on an SQL server must do beyond every store's contract: the wire breaks, the server dies, locks meet.

A backend's test file inherits `SqlServerContract` and says in `Backend` how its server is asked things behind the
store's back.
"""

import asyncio
import itertools
import secrets
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import pytest
from faults.proxy import FaultProxy

from quart_counter.counters import Counters
from quart_counter.errors import ConfigurationError, QuartCounterError
from quart_counter.model import Applied, Change, Reading
from quart_counter.stores import Limits, Store, open_store
from stores.contract import fresh
from stores.writers import processes_add

KINDS = pytest.mark.parametrize("keyed", [False, True], ids=["plain", "keyed"])


class Backend(Protocol):
    """How a test asks the server itself."""

    trips: int  # exchanges of a plain flush; the last of them is the COMMIT
    keyed_trips: int
    crash: signal.Signals  # how to kill the server

    async def ask(self, url: str, *statements: str) -> Sequence[Sequence[Any]]:
        """Run statements on a connection of their own, and return the rows of the last."""

    async def connections(self, url: str) -> int:
        """How many connections of stores there are."""

    async def database(self, url: str) -> str:
        """Create an empty database and return its URL."""
        name = f"d{secrets.token_hex(8)}"
        await self.ask(url, f"CREATE DATABASE {name}")
        return urlsplit(url)._replace(path=f"/{name}").geturl()

    def holding(self, url: str, name: str) -> AbstractAsyncContextManager[None]:
        """Hold the lock of a counter's row."""


async def sentence(url: str) -> str:
    """What is said about a URL that cannot be opened: one line, and no secret."""
    with pytest.raises(ConfigurationError) as told:
        await open_store(url).__aenter__()
    assert "\n" not in str(told.value)
    assert "hunter2" not in str(told.value)
    return str(told.value)


def as_user(url: str, user: str, database: str | None = None) -> str:
    """The same server, and the same database unless another is named, as somebody else."""
    parts = urlsplit(url)
    path = parts.path if database is None else f"/{database}"
    return parts._replace(netloc=f"{user}@{parts.hostname}:{parts.port}", path=path).geturl()


def through(proxy: FaultProxy, url: str) -> str:
    """The same server behind the proxy."""
    parts = urlsplit(url)
    user, _, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user}@{proxy.address}").geturl()


def proxied(url: str, **options: Any) -> FaultProxy:
    parts = urlsplit(url)
    return FaultProxy(parts.hostname, parts.port, **options)


async def until_zero(backend: Backend, url: str) -> int:
    """The number of connections; a server needs a moment to notice that one was closed."""
    for _ in range(100):
        if not (left := await backend.connections(url)):
            break
        await asyncio.sleep(0.02)
    return left


class Traffic:
    """20 tasks that add and add, for one `async with` block."""

    def __init__(self, counters: Counters, name: str) -> None:
        self.readings: list[Reading] = []
        self.failed: list[QuartCounterError] = []
        self._counters, self._name = counters, name
        self._going, self._news = True, asyncio.Event()

    async def answers(self, more: int) -> None:
        """Wait for so many more."""
        wanted = len(self.readings) + more
        while len(self.readings) < wanted:
            self._news.clear()
            await self._news.wait()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._add()) for _ in range(20)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._going = False
        await asyncio.gather(*self._tasks)

    async def _add(self) -> None:
        while self._going:
            try:
                self.readings.append(await self._counters.add(self._name))
            except QuartCounterError as error:
                self.failed.append(error)
            self._news.set()


class SqlServerContract:
    """Provide the fixtures `backend`, `url` (a shared server's) and `own` (a LocalServer that may be killed)."""

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[Store]:
        async with open_store(url) as store:
            yield store

    async def test_two_processes_with_50_writers_each(self, url):
        name = fresh()
        readings = await processes_add(url, name, processes=2, writers=50, each=40)
        assert sorted(readings) == [Reading(i, i) for i in range(1, 4001)]

    @pytest.mark.soak
    async def test_two_processes_with_50_writers_each_in_full(self, url):
        name = fresh()
        readings = await processes_add(url, name, processes=2, writers=50, each=200)
        assert sorted(readings) == [Reading(i, i) for i in range(1, 20_001)]

    @KINDS
    @pytest.mark.parametrize("fault", ["drop", "reset", "drop_request", "dribble", "half_close"])
    async def test_a_flush_counts_once_wherever_the_wire_breaks(self, url, backend, keyed, fault):
        trips = backend.keyed_trips if keyed else backend.trips
        async with proxied(url) as proxy, open_store(through(proxy, url)) as store:
            for place in range(trips):
                name = fresh()
                keys = iter("abc") if keyed else itertools.repeat(None)
                await store.apply([Change(name, key=next(keys))])
                proxy.script.extend(["pass"] * place + [fault])
                assert await store.apply([Change(name, key=next(keys))]) == [Applied(2, 2)], place
                assert proxy.fired[fault] > place
                assert await store.apply([Change(name, key=next(keys))]) == [Applied(3, 3)], place

    @KINDS
    async def test_a_lost_reply_to_commit_is_answered_from_the_receipt(self, url, backend, keyed):
        name, key = fresh(), "k" if keyed else None
        changes = [Change(name, 5, key=key), Change(name, 1, limit=5), Change(fresh()), Change(name, 5, key=key)]
        async with proxied(url) as proxy, open_store(through(proxy, url)) as store:
            await store.apply([Change(fresh(), key=key)])
            proxy.script.extend(["pass"] * ((backend.keyed_trips if keyed else backend.trips) - 1) + ["drop"])
            outcomes = await store.apply(changes)
            assert proxy.fired["drop"] == 1
            async with open_store(url) as straight:
                expected = await straight.apply([change._replace(name=f"{change.name}.x") for change in changes])
                assert outcomes == expected
                assert await straight.read(name) == await straight.read(f"{name}.x")

    async def test_a_reply_that_never_comes_is_not_waited_for(self, url, backend):
        name = fresh()
        limits = Limits(store_timeout_s=0.3)
        async with proxied(url) as proxy, open_store(through(proxy, url), limits) as store:
            await store.apply([Change(name)])
            for place in range(backend.trips):
                proxy.script.extend(["pass"] * place + ["stall"])
                assert await store.apply([Change(name)]) == [Applied(place + 2, place + 2)]
            assert proxy.fired["stall"] == backend.trips

    async def test_a_wire_that_breaks_all_the_time(self, url):
        name = fresh()
        mix = {"pass": 0.9, "drop": 0.05, "reset": 0.03, "drop_request": 0.02}
        impatient = Limits(store_timeout_s=0.4, deadline_s=15.0)  # each lost reply costs a timeout
        async with open_store(url) as direct:
            async with proxied(url, seed=7) as proxy, open_store(through(proxy, url), impatient) as store:
                proxy.mix.update(mix)  # only now: the store is open
                answers = [(await store.apply([Change(name)]))[0] for _ in range(150)]
                proxy.mix.clear()
            assert answers == [Applied(i, i) for i in range(1, 151)]
            assert sum(proxy.fired.values()) > 5
            assert await direct.read(name) == Reading(150, 150)

    async def test_a_server_that_is_away_is_told_as_not_applied(self, url):
        name = fresh()
        limits = Limits(store_timeout_s=0.2, deadline_s=0.5)
        async with proxied(url) as proxy, open_store(through(proxy, url), limits) as store:
            proxy.always = "drop_request"
            (outcome,) = await store.apply([Change(name)])
        assert type(outcome).__name__ == "NotApplied"

    async def test_a_commit_that_nobody_answers_is_unknown_and_never_more_than_once(self, url, backend, store):
        name = fresh()
        limits = Limits(store_timeout_s=0.2, deadline_s=0.5)
        async with proxied(url) as proxy, open_store(through(proxy, url), limits) as behind:
            await behind.apply([Change(name)])
            proxy.script.extend(["pass"] * (backend.trips - 1))
            proxy.always = "drop"
            (outcome,) = await behind.apply([Change(name)])
            proxy.always = "pass"
        assert type(outcome).__name__ == "OutcomeUnknown"
        assert await store.read(name) == Reading(2, 2)

    async def test_a_cancelled_flush_leaves_no_dirty_connection(self, url, store):
        name = fresh()
        await store.apply([Change(name)])
        for _ in range(20):
            caller = asyncio.create_task(store.apply([Change(name)]))
            await asyncio.sleep(0.0005)
            caller.cancel()
            await asyncio.wait([caller])
            (outcome,) = await store.apply([Change(name)])
            assert outcome.value == outcome.version
            assert await store.read(name) == Reading(*outcome[:2])

    async def test_flushes_that_meet_in_opposite_order_never_deadlock(self, url):
        """A victim's session is thrown away, so a store that kept its first one met no deadlock and no lock timeout."""
        patient = Limits(store_timeout_s=15.0, deadline_s=30.0)
        async with open_store(url, patient) as one, open_store(url, patient) as other:
            await asyncio.gather(one.apply([Change(fresh())]), other.apply([Change(fresh())]))
            sessions = [store._flusher._session for store in (one, other)]
            for _ in range(40):
                names = [f"{fresh()}.{i}" for i in range(250)]  # new ones: their creation meets as well
                changes = [Change(name) for name in names]
                for _ in range(2):
                    both = await asyncio.gather(one.apply(changes), other.apply(changes[::-1]))
                    assert all(isinstance(outcome, Applied) for outcome in itertools.chain(*both))
            assert [store._flusher._session for store in (one, other)] == sessions

    async def test_a_row_that_others_hold_is_waited_for_and_given_up_in_good_order(self, url, backend, store):
        name = fresh()
        await store.apply([Change(name)])
        async with backend.holding(url, name), open_store(url, Limits(deadline_s=1.5)) as waiting:
            (outcome,) = await waiting.apply([Change(name)])
            assert type(outcome).__name__ == "NotApplied"
            later = asyncio.create_task(store.apply([Change(name)]))
            await asyncio.sleep(0.05)
            assert not later.done()
        assert await later == [Applied(2, 2)]

    async def test_acknowledged_is_kept_through_a_crash(self, own, backend):
        """Kill the server in the middle of traffic, twice; what was answered is there, and nothing twice."""
        name = fresh()
        async with open_store(own.url, Limits(deadline_s=20.0)) as store:
            async with Traffic(Counters(store, deadline_s=20.0, combine=True), name) as traffic:
                for _ in range(2):
                    await traffic.answers(500)
                    await asyncio.to_thread(own.kill, backend.crash)
                    await asyncio.to_thread(own.start)
                await traffic.answers(200)
            assert traffic.failed == []
            assert sorted(traffic.readings) == [Reading(i, i) for i in range(1, len(traffic.readings) + 1)]
            assert await store.read(name) == Reading(len(traffic.readings), len(traffic.readings))

    async def test_eight_workers_open_an_empty_database_at_once(self, url, backend):
        empty, name = await backend.database(url), fresh()

        async def worker() -> list:
            async with open_store(empty) as store:
                return await store.apply([Change(name)])

        answers = await asyncio.gather(*(worker() for _ in range(8)))
        assert sorted(answers) == [[Applied(i, i)] for i in range(1, 9)]

    async def test_nothing_is_left_when_a_store_closes(self, url, backend):
        own = await backend.database(url)
        async with open_store(own) as store:
            await asyncio.gather(*(store.apply([Change(fresh())]) for _ in range(5)))
            await asyncio.gather(*(store.read(fresh()) for _ in range(20)))
            assert await backend.connections(own) > 1
            assert len(await backend.ask(own, "SELECT worker FROM quart_counter_flushes")) == 1
        assert await until_zero(backend, own) == 0
        assert len(await backend.ask(own, "SELECT worker FROM quart_counter_flushes")) == 0

    async def test_no_connection_is_left_by_callers_who_went_away(self, url, backend):
        own = await backend.database(url)
        async with open_store(own) as store:
            for pause_s in (0, 0.0002, 0.0005, 0.001, 0.002):
                callers = [asyncio.create_task(ask) for ask in (store.apply([Change(fresh())]), store.read(fresh()))]
                await asyncio.sleep(pause_s)
                for caller in callers:
                    caller.cancel()
                await asyncio.wait(callers)
        assert await until_zero(backend, own) == 0

    async def test_keys_that_ended_are_swept_up(self, url, backend):
        name = fresh()
        limits = Limits(store_timeout_s=0.1, deadline_s=0.2, key_life_s=0.41)
        async with open_store(url, limits) as store:
            await store.apply([Change(name, key=str(i)) for i in range(10)])
            await asyncio.sleep(0.85)
            await store.apply([Change(name, key="new")])
        keys = await backend.ask(url, f"SELECT record FROM quart_counter_keys WHERE name = '{name}'")
        assert [tuple(row) for row in keys] == [("1,,,, applied 11 11",)]

    async def test_a_hostile_key_is_only_a_key(self, store):
        name = fresh()
        keys = ["';DROP/**/TABLE/**/quart_counters;--", "\\", "\\'", "''", "$1", "%s", "/*", "--", "`", '"']
        changes = [Change(name, key=key) for key in keys]
        assert await store.apply(changes) == [Applied(i, i) for i in range(1, len(keys) + 1)]
        assert await store.apply(changes) == [Applied(i, i, replayed=True) for i in range(1, len(keys) + 1)]

    async def test_no_server_there(self, url):
        nobody = urlsplit(url)._replace(netloc="somebody:hunter2@127.0.0.1:1").geturl()
        with pytest.raises(ConfigurationError, match=r"127\.0\.0\.1:1: start it, or name another") as told:
            await open_store(nobody).__aenter__()
        assert "hunter2" not in str(told.value)

    @pytest.mark.parametrize("netloc", ["u:hunter2#x@h:1", "u:hunter2/x@h", "u:hunter2@h:port", "u:[hunter2@h"])
    async def test_a_malformed_url_is_not_quoted(self, url, netloc):
        scheme, _, rest = url.partition("://")
        with pytest.raises(ConfigurationError, match="URL is malformed") as told:
            await open_store(f"{scheme}://{netloc}/{rest.rpartition('/')[2]}").__aenter__()
        assert "hunter2" not in str(told.value)
