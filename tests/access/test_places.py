"""Places for names: never more counters than places, however many begin them at once, and none is lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from quart_counter.access import places as room
from quart_counter.access.places import PLACES, Full, Places
from quart_counter.access.tokens import Credential
from quart_counter.counters import Counters
from quart_counter.model import Applied, Change, NotApplied, OutcomeUnknown, Reading, Refused
from quart_counter.stores import Store, open_store
from quart_counter.stores.memory import MemoryStore

TOKEN = Credential("shop", "0" * 64, frozenset({"increment"}), max_names=3)


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def store(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[Store]:
    urls = {"memory": "memory:", "sqlite": f"sqlite:{tmp_path}/counters.db"}
    url = urls.get(request.param) or request.getfixturevalue("redis_server").url
    async with open_store(url) as store:
        while names := await store.names():
            for name in names:
                await store.forget(name)
        yield store


def a_worker(store: Store, most: int) -> Places:
    return Places(Counters(store, deadline_s=5, combine=True), most=most, deadline_s=0.001)


async def counters_in(store: Store) -> list[str]:
    return [name for name in await store.names() if not name.startswith("~")]


async def taken(store: Store, name: str = PLACES) -> int:
    return (await store.read(name)).value


async def test_a_name_too_many_is_refused_and_the_others_go_on(store: Store) -> None:
    places = a_worker(store, 3)
    for name in "abc":
        assert await places.apply(Change(name), None) == Applied(1, 1)
    assert await places.apply(Change("d"), None) == Full(3)
    assert await places.apply(Change("a"), None) == Applied(2, 2)
    assert await counters_in(store) == ["a", "b", "c"]


@pytest.mark.parametrize("n", [1, 3])
async def test_a_crowd_of_workers_begins_no_more_than_may_be(store: Store, n: int) -> None:
    """Each of 20 names is begun ten times at once, by all workers; there are ten places."""
    workers = [a_worker(store, 10) for _ in range(n)]
    outcomes = await asyncio.gather(
        *(workers[i % n].apply(Change(f"name-{i % 20}"), None) for i in range(200)),
    )
    there = await counters_in(store)
    assert len(there) <= 10
    assert await taken(store) == len(there)
    assert sum(isinstance(one, Applied) for one in outcomes) == sum([(await store.read(name)).value for name in there])
    assert all(isinstance(one, Applied | Full) for one in outcomes)
    if n == 1:
        assert len(there) == 10, "one worker wastes no place"


async def test_what_began_nothing_takes_no_place(store: Store) -> None:
    places = a_worker(store, 3)
    for n in range(10):
        assert isinstance(await places.apply(Change(f"n{n}", by=5, limit=1), None), Refused)
        assert isinstance(await places.apply(Change(f"n{n}", value=5, if_version=9), None), Refused)
    assert (await taken(store), await counters_in(store)) == (0, [])


async def test_a_refusal_takes_no_place_although_its_key_is_kept(store: Store) -> None:
    """It has none to begin the counter with later, be the places counted anew or not, and costs its client none."""
    places = a_worker(store, 3)
    for n in range(4):
        for _ in range(2):
            outcome = await places.apply(Change(f"n{n}", by=5, limit=1, key="k"), TOKEN)
            assert isinstance(outcome, Refused)
    assert (await taken(store), await taken(store, f"{PLACES}.shop")) == (0, 0)
    await places.recount(pause_s=0.001)
    began = [type(await places.apply(Change(f"m{n}"), TOKEN)) for n in range(3)]
    assert began == [Applied] * 3
    assert [await places.apply(Change(f"n{n}"), TOKEN) for n in range(4)] == [Full(3)] * 4
    assert await counters_in(store) == ["m0", "m1", "m2"]


async def test_a_client_has_places_of_its_own(store: Store) -> None:
    places = a_worker(store, 5)
    assert [type(await places.apply(Change(f"s{n}"), TOKEN)) for n in range(4)] == [Applied, Applied, Applied, Full]
    assert (await taken(store), await taken(store, f"{PLACES}.shop")) == (3, 3), "what was not begun was given back"
    assert [type(await places.apply(Change(f"o{n}"), None)) for n in range(3)] == [Applied, Applied, Full]
    assert isinstance(await places.apply(Change("o1"), TOKEN), Applied), "a counter of somebody else takes no place"


async def test_whoever_has_used_up_its_own_places_takes_none_of_everybodys(store: Store) -> None:
    places = a_worker(store, 12)
    assert [type(await places.apply(Change(f"s{n}"), TOKEN)) for n in range(3)] == [Applied] * 3
    before = await store.read(PLACES)
    crowd = await asyncio.gather(*(places.apply(Change(f"more{n}"), TOKEN) for n in range(50)))
    assert crowd == [Full(3)] * 50
    assert await store.read(PLACES) == before, "not even for a moment"


async def test_a_client_may_be_limited_alone(store: Store) -> None:
    places = a_worker(store, 0)
    assert [type(await places.apply(Change(f"s{n}"), TOKEN)) for n in range(4)] == [Applied, Applied, Applied, Full]
    assert isinstance(await places.apply(Change("another"), None), Applied)


class Says(MemoryStore):
    """Says what it is told of changes to counters, not of those to its own books."""

    def __init__(self, outcome) -> None:
        super().__init__()
        self._outcome = outcome

    async def apply(self, changes):
        if changes[0].name.startswith("~"):
            return await super().apply(changes)
        return [self._outcome]


@pytest.mark.parametrize(("outcome", "places"), [(NotApplied("busy"), 0), (OutcomeUnknown("gone"), 1)])
async def test_what_may_have_begun_keeps_its_place(outcome, places: int) -> None:
    store = Says(outcome)
    assert await a_worker(store, 3).apply(Change("a"), None) == outcome
    assert await taken(store) == places


async def test_a_client_that_leaves_costs_no_place() -> None:
    store, began, go_on = MemoryStore(), asyncio.Event(), asyncio.Event()
    apply = store.apply

    async def slow(changes):
        if changes[0].name == "a":
            began.set()
            await go_on.wait()
        return await apply(changes)

    store.apply = slow
    places = Places(Counters(store, deadline_s=5, combine=False), most=3, deadline_s=1)
    leaving = asyncio.create_task(places.apply(Change("a", by=5, limit=1), None))
    await began.wait()
    assert await taken(store) == 1
    leaving.cancel()
    go_on.set()
    await places._errands.drain()
    assert await taken(store) == 0


# Counting anew


async def test_pages_of_names_and_counters_of_our_own_are_told_apart(monkeypatch) -> None:
    monkeypatch.setattr(room, "PAGE", 2)
    store = MemoryStore()
    for there in range(6):
        await store.apply([Change(f"~limit.{n}") for n in range(4)])
        await a_worker(store, 9).recount()
        assert await taken(store) == there
        await store.apply([Change(f"n{there}")])


async def begun_elsewhere(store: Store, n: int) -> None:
    counters = Counters(store, deadline_s=5, combine=False)
    for i in range(n):
        await counters.increment(f"n{i}")


async def test_names_that_were_there_before_have_their_places(store: Store) -> None:
    await begun_elsewhere(store, 5)
    places = a_worker(store, 6)
    await asyncio.gather(places.recount(), a_worker(store, 6).recount())
    assert await taken(store) == 5
    assert isinstance(await places.apply(Change("a"), None), Applied)
    assert await places.apply(Change("b"), None) == Full(6)


async def test_a_place_that_a_killed_worker_left_is_found(store: Store) -> None:
    places = a_worker(store, 3)
    await begun_elsewhere(store, 1)
    await store.apply([Change(PLACES, by=3)])
    await places.recount()
    assert await taken(store) == 3, "without a pause a change may be under way"
    await places.recount(pause_s=0.001)
    assert await taken(store) == 1
    assert isinstance(await places.apply(Change("b"), None), Applied)


async def test_counting_anew_forgets_nothing_that_is_begun_meanwhile(store: Store) -> None:
    places = a_worker(store, 10)
    await store.apply([Change(PLACES, by=3)])
    look = places._counters.look

    async def look_and_begin(name: str) -> Reading:
        """Just after the recount has looked, another worker begins a counter that may not be in the names yet."""
        reading = await look(name)
        await store.apply([Change(PLACES, by=1)])
        return reading

    places._counters.look = look_and_begin
    await places.recount(pause_s=0.001)
    assert await taken(store) == 4
