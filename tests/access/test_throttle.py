"""Buckets: never more than is in them, in any number of workers, on any store that counts right."""

import asyncio
import math
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_counter.access import throttle as room
from quart_counter.access.rates import Rate
from quart_counter.access.throttle import PREFIX, Throttle
from quart_counter.counters import Counters
from quart_counter.model import NAME, Applied, NotApplied
from quart_counter.stores import Store, open_store
from quart_counter.stores.memory import MemoryStore

START_S = 1_800_000_000.0
WHO = ("client", "192.0.2.1")


class Clock:
    def __init__(self) -> None:
        self.s = START_S

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[Store]:
    urls = {"memory": "memory:", "sqlite": f"sqlite:{tmp_path}/counters.db"}
    url = urls.get(request.param) or request.getfixturevalue("redis_server").url
    async with open_store(url) as store:
        for name in await store.names(PREFIX):
            await store.forget(name)
        yield store


def workers(store: Store, clock: Clock, n: int = 1) -> list[Throttle]:
    return [Throttle(Counters(store, deadline_s=5, combine=True), clock) for _ in range(n)]


async def let_through(throttles: list[Throttle], rate: Rate, asked: int, who: tuple[str, str] = WHO) -> int:
    waits = await asyncio.gather(
        *(throttles[i % len(throttles)].wait_s(*who, rate) for i in range(asked)),
    )
    return waits.count(0.0)


@pytest.mark.parametrize("n", [1, 3])
async def test_one_in_ten_seconds_is_one_however_many_come_at_once(store: Store, clock: Clock, n: int) -> None:
    """The race of limiters that get, add and set."""
    throttles = workers(store, clock, n)
    assert await let_through(throttles, Rate(1, 10), 20) == 1
    clock.s += 9.9
    assert await let_through(throttles, Rate(1, 10), 20) == 0
    clock.s += 0.2
    assert await let_through(throttles, Rate(1, 10), 20) == 1


@pytest.mark.parametrize(("limit", "n"), [(1, 4), (7, 1), (7, 4), (100, 1), (100, 4), (1000, 2), (1500, 1)])
async def test_a_full_bucket_is_let_through_and_no_more(clock: Clock, limit: int, n: int) -> None:
    """By one worker all of it; by several all but what the others have in hand."""
    async with open_store("memory:") as store:
        through = await let_through(workers(store, clock, n), Rate(limit, 1), 2 * limit)
    in_hand = 0 if n == 1 else n * max(0, math.ceil(limit / room.SHARE) - 1)
    assert limit - in_hand <= through <= limit


@pytest.mark.parametrize("limit", [1, 3, 7, 1500, 15_000, 60_000, 600_000, 3_000_000])
def test_a_bucket_holds_its_limit_and_fills_up_no_faster(limit: int) -> None:
    """Though the limit does not divide its window into whole microseconds."""
    bucket = room.Bucket("a", Rate(limit, 1))
    assert bucket.window // bucket.each == limit
    assert room.SECOND / bucket.each <= limit


async def test_it_fills_up_again_at_its_rate(store: Store, clock: Clock) -> None:
    throttles = workers(store, clock)
    assert await let_through(throttles, Rate(10, 1), 50) == 10
    for _ in range(5):
        clock.s += 0.2001
        assert await let_through(throttles, Rate(10, 1), 50) == 2


async def test_whoever_waits_as_told_is_let_through(store: Store, clock: Clock) -> None:
    (throttle,) = workers(store, clock)
    rate = Rate(3, 10)
    for _ in range(20):
        wait_s = await throttle.wait_s(*WHO, rate)
        if wait_s:
            clock.s += wait_s - 0.01
            assert await throttle.wait_s(*WHO, rate) > 0
            clock.s += 0.01 + 1e-5
            assert await throttle.wait_s(*WHO, rate) == 0


steps = st.lists(st.tuples(st.floats(0, 3), st.integers(0, 2), st.integers(0, 40)), max_size=30)


@given(st.integers(1, 60), st.integers(1, 10), steps)
def test_never_more_than_a_bucket_and_what_filled_it_meanwhile(limit: int, window_s: int, steps: list) -> None:
    """Over any stretch of time, whichever worker is asked when; a worker may use what it took a moment ago."""

    async def run() -> None:
        clock, rate = Clock(), Rate(limit, window_s)
        throttles = workers(MemoryStore(), clock, 3)
        through: list[float] = []
        for pause_s, which, asked in steps:
            clock.s += pause_s
            through += [clock.s] * await let_through([throttles[which]], rate, asked)
        each_s = math.floor(window_s * 1e6 / limit) / 1e6
        for i in range(len(through)):
            for j in range(i, len(through)):
                stretch_s = through[j] - through[i] + window_s / room.SHARE
                assert j - i + 1 <= limit + stretch_s / each_s + 1

    asyncio.run(run())


async def test_clients_and_policies_do_not_touch_each_other(store: Store, clock: Clock) -> None:
    throttles = workers(store, clock)
    for who in (("client", "192.0.2.1"), ("client", "192.0.2.2"), ("token", "192.0.2.1")):
        assert await let_through(throttles, Rate(5, 1), 10, who) == 5


async def test_most_requests_need_no_trip(clock: Clock) -> None:
    store = MemoryStore()
    trips, apply = 0, store.apply

    async def counted(changes):
        nonlocal trips
        trips += 1
        return await apply(changes)

    store.apply = counted
    throttles = workers(store, clock)
    for _ in range(1000):
        await throttles[0].wait_s(*WHO, Rate(10_000, 1))
    assert trips < 10
    trips = 0
    for _ in range(20_000):
        await throttles[0].wait_s(*WHO, Rate(100, 1))
    assert trips < 100, "whoever is too fast costs nothing"


class Away:
    """A store that does not answer, and counts how often it is asked."""

    guarantees = MemoryStore.guarantees
    asked = 0

    async def apply(self, changes):
        self.asked += 1
        return [NotApplied("away") for _ in changes]


async def test_while_the_store_is_away_each_worker_counts_by_itself(clock: Clock) -> None:
    store = Away()
    throttles = workers(store, clock)
    assert await let_through(throttles, Rate(5, 10), 100) == 5
    assert store.asked == 1
    clock.s += 2.1
    assert await let_through(throttles, Rate(5, 10), 100) == 1
    assert store.asked == 2


async def test_what_was_counted_alone_counts_when_the_store_is_back(clock: Clock, monkeypatch) -> None:
    store = MemoryStore()
    (throttle,) = workers(store, clock)
    away = Away()
    monkeypatch.setattr(throttle, "_apply", Counters(away, deadline_s=5, combine=True).apply)
    assert await let_through([throttle], Rate(5, 10), 20) == 5
    monkeypatch.setattr(throttle, "_apply", Counters(store, deadline_s=5, combine=True).apply)
    clock.s += room.ALONE_S + 0.1
    assert await let_through([throttle], Rate(5, 10), 20) == 1


class Silent(Away):
    """A store that is asked, and says nothing until `back` is set."""

    def __init__(self) -> None:
        self.back = asyncio.Event()

    async def apply(self, changes):
        self.asked += 1
        await self.back.wait()
        return [Applied(change.value, self.asked) for change in changes]


async def test_a_store_that_says_nothing_holds_nobody_up_for_long(clock: Clock, monkeypatch) -> None:
    """Its own deadline is for changes; and after the first silence one request alone waits to find out."""
    monkeypatch.setattr(room, "PATIENCE_S", 0.2)
    store = Silent()
    (throttle,) = workers(store, clock)
    async with asyncio.timeout(4):
        assert await let_through([throttle], Rate(5, 10), 20) == 5
        clock.s += room.ALONE_S + 0.1
        asking = asyncio.create_task(throttle.wait_s(*WHO, Rate(5, 10)))
        await asyncio.sleep(0)
        others = [throttle.wait_s("client", str(n), Rate(5, 10)) for n in range(20)]
        assert await asyncio.gather(*others) == [0.0] * 20
        assert not asking.done()
        store.back.set()
        assert await asking == 0.0
        assert await throttle.wait_s("client", "new", Rate(5, 10)) == 0.0
    assert store.asked == 3


async def test_clients_that_nobody_can_count_take_no_memory(clock: Clock) -> None:
    (throttle,) = workers(MemoryStore(), clock)
    for n in range(room.MOST + 100):
        await throttle.wait_s("client", str(n), Rate(5, 1))
    assert len(throttle._buckets) == room.MOST


async def test_buckets_that_are_full_again_are_forgotten_and_nothing_else(store: Store, clock: Clock) -> None:
    counters = Counters(store, deadline_s=5, combine=False)
    (throttle,) = workers(store, clock)
    await counters.increment("tickets")
    for n in range(5):
        await throttle.wait_s("client", str(n), Rate(5, 1))
    clock.s += room.SWEEP_S + 1
    await throttle.wait_s("client", "still there", Rate(5, 10))
    assert await throttle.sweep() == 5
    assert len([name for name in await store.names(PREFIX) if name.startswith(PREFIX)]) == 1
    assert (await store.read("tickets")).version >= 1
    assert not NAME.fullmatch((await store.names(PREFIX))[0])
    assert await let_through([throttle], Rate(5, 1), 10, ("client", "3")) == 5
