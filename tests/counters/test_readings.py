"""Readers share trips, and nothing else: neither an old answer, nor an error, nor the fate of one who leaves."""

import asyncio

import pytest

from quart_counter.counters.readings import Readings
from quart_counter.model import Reading
from quart_counter.stores.base import AT_ONCE, StoreAway


class Gated:
    """A store that answers when the test says so. `damaged` names cannot be read."""

    def __init__(self) -> None:
        self.value, self.trips, self.damaged = 0, [], set()
        self.open = asyncio.Event()
        self.asked = asyncio.Event()

    async def read(self, name):
        return (await self.read_many([name]))[0]

    async def read_many(self, names):
        value = self.value
        self.trips.append(list(names))
        self.asked.set()
        await self.open.wait()
        if self.damaged & {*names}:
            raise StoreAway("damaged")
        return [Reading(value, value) for _ in names]


@pytest.fixture
async def store():
    return Gated()


@pytest.fixture
async def readings(store):
    readings = Readings(store, 60.0)
    yield readings
    store.open.set()
    await readings.drain()


async def all_of(readings, names):
    return await asyncio.gather(*map(readings.read, names), return_exceptions=True)


async def test_a_crowd_of_readers_is_one_trip(store, readings):
    store.open.set()
    assert await all_of(readings, ["a", "b", "a", "a"] * 25) == [Reading()] * 100
    assert store.trips == [["a", "b"]]


async def test_nobody_joins_a_trip_that_began_before_they_asked(store, readings):
    """Else a reader could miss what was answered to somebody before it asked."""
    early = asyncio.create_task(readings.read("a"))
    await store.asked.wait()
    store.value = 1
    late = asyncio.create_task(readings.read("a"))
    await asyncio.sleep(0)
    store.open.set()
    assert (await early, await late) == (Reading(0, 0), Reading(1, 1))
    assert store.trips == [["a"], ["a"]]


async def test_who_leaves_cuts_no_trip_and_who_waited_in_vain_makes_none(store, readings):
    first, second = (asyncio.create_task(readings.read(name)) for name in "ab")
    await store.asked.wait()
    third = asyncio.create_task(readings.read("c"))
    await asyncio.sleep(0)
    first.cancel()
    third.cancel()
    await asyncio.wait([first, third])
    store.open.set()
    assert await second == Reading()
    assert store.trips == [["a", "b"]]


@pytest.mark.parametrize("others", [0, 1, 3, 5 * AT_ONCE])
async def test_a_counter_that_cannot_be_read_is_nobody_elses_trouble(store, readings, others):
    store.damaged = {"bad"}
    store.open.set()
    bad, *rest = await all_of(readings, ["bad", *(f"c{number}" for number in range(others))])
    assert isinstance(bad, StoreAway)
    assert rest == [Reading()] * others


async def test_when_the_store_is_away_each_gets_an_error_of_its_own_and_few_are_tried(store, readings):
    names = [f"c{number}" for number in range(100)]
    store.damaged = {*names}
    store.open.set()
    answers = await all_of(readings, names)
    assert {str(answer) for answer in answers} == {"damaged"}
    assert len({*map(id, answers)}) == 100
    assert len(store.trips) == 1 + AT_ONCE


async def test_a_bug_in_the_store_leaves_nobody_waiting(store, readings):
    store.open.set()
    store.read_many = lambda names: 1 / 0
    answers = await all_of(readings, ["a", "b"])
    assert [type(answer) for answer in answers] == [StoreAway] * 2
    assert "ZeroDivisionError" in str(answers[0])
