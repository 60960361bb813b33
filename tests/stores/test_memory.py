"""What is special about counting in memory: an await in the wrong place is all it takes, and a lock mends it."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from quart_counter.errors import ConfigurationError
from quart_counter.model import Applied, Change, Reading
from quart_counter.stores import Limits, memory, open_store
from quart_counter.stores.memory import MemoryStore

CLIENTS = 10


class Gate:
    """A pause that holds everybody until it is opened, and says how many it holds."""

    def __init__(self) -> None:
        self.held = 0
        self._changed = asyncio.Condition()
        self._open = False

    async def __call__(self) -> None:
        async with self._changed:
            self.held += 1
            self._changed.notify_all()
            try:
                await self._changed.wait_for(lambda: self._open)
            finally:
                self.held -= 1

    async def holds(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.held == count)

    async def open(self) -> None:
        async with self._changed:
            self._open = True
            self._changed.notify_all()


def start(store: MemoryStore, *changes: Change) -> asyncio.Task:
    return asyncio.create_task(store.apply(list(changes) or [Change("t")]))


async def test_bare_is_right_on_one_loop():
    """No await inside the step, so nobody can come between its read and its write."""
    store = MemoryStore()
    answers = await asyncio.gather(*(start(store) for _ in range(100)))
    assert answers == [[Applied(i, i)] for i in range(1, 101)]


async def test_unguarded_hands_the_same_number_to_all_and_loses_the_rest():
    gate = Gate()
    store = MemoryStore(pause=gate)
    callers = [start(store) for _ in range(CLIENTS)]
    await gate.holds(CLIENTS)
    await gate.open()
    assert await asyncio.gather(*callers) == [[Applied(1, 1)]] * CLIENTS, "ten duplicates"
    assert await store.read("t") == Reading(1, 1), "nine lost"


async def test_lock_with_the_same_pause_is_right():
    gate = Gate()
    store = MemoryStore(guard=asyncio.Lock(), pause=gate)
    callers = [start(store) for _ in range(CLIENTS)]
    await gate.holds(1)
    assert await store.read("t") == Reading(0, 0), "reading does not wait for the lock"
    await gate.open()
    assert await asyncio.gather(*callers) == [[Applied(i, i)] for i in range(1, CLIENTS + 1)]


async def test_lock_lets_one_at_a_time_into_the_step():
    most = inside = 0

    async def pause() -> None:
        nonlocal most, inside
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1

    store = MemoryStore(guard=asyncio.Lock(), pause=pause)
    await asyncio.gather(*(start(store) for _ in range(CLIENTS)))
    assert most == 1


async def test_a_caller_cancelled_while_waiting_for_the_lock_has_no_effect():
    gate = Gate()
    store = MemoryStore(guard=asyncio.Lock(), pause=gate)
    first, waiting, last = start(store), start(store), start(store)
    await gate.holds(1)
    waiting.cancel()
    await gate.open()
    assert await first == [Applied(1, 1)]
    assert await last == [Applied(2, 2)]
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_caller_cancelled_inside_the_step_has_no_effect_and_lets_go_of_the_lock():
    gate = Gate()
    lock = asyncio.Lock()
    store = MemoryStore(guard=lock, pause=gate)
    inside, waiting = start(store), start(store)
    await gate.holds(1)
    inside.cancel()
    with pytest.raises(asyncio.CancelledError):
        await inside
    await gate.open()
    assert await waiting == [Applied(1, 1)]
    assert not lock.locked()


@pytest.fixture
def clock(monkeypatch):
    """The time as the store sees it: `clock.now` moves when the test says so."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(memory, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


async def test_a_key_lives_exactly_its_life(clock):
    store = MemoryStore(limits=Limits(key_life_s=60.0))
    await store.apply([Change("t", key="k")])
    clock.now += 59.9
    assert await store.apply([Change("t", key="k")]) == [Applied(1, 1, replayed=True)]
    clock.now += 0.1
    assert await store.apply([Change("t", key="k")]) == [Applied(2, 2)]


async def test_a_replay_does_not_lengthen_a_keys_life(clock):
    store = MemoryStore(limits=Limits(key_life_s=60.0))
    for _ in range(3):
        await store.apply([Change("t", key="k")])
        clock.now += 25.0
    assert await store.apply([Change("t", key="k")]) == [Applied(2, 2)]


async def test_expired_keys_make_room_in_the_quota(clock):
    store = MemoryStore(limits=Limits(key_life_s=60.0, max_keys=2))
    await store.apply([Change("t", key="a")])
    clock.now += 30.0
    await store.apply([Change("t", key="b")])
    clock.now += 30.0
    assert await store.apply([Change("t", key="c")]) == [Applied(3, 3)]


async def test_keys_under_names_that_nobody_asks_for_again_are_released(clock):
    """Also under a name that was never counted, where the key's change was refused."""
    store = MemoryStore(limits=Limits(key_life_s=60.0))
    for n in range(100):
        await store.apply([Change(f"made-up-{n}", by=5, limit=1, key="k")])
    assert len(store._keys) == 100
    clock.now += 61
    for n in range(100):
        await store.apply([Change("tickets", key=f"{n}")])
    assert [*store._keys] == ["tickets"]


async def test_the_memory_of_expired_keys_is_released(clock):
    store = MemoryStore(limits=Limits(key_life_s=60.0))
    for _ in range(5):
        await store.apply([Change("t", key=f"{clock.now}.{i}") for i in range(200)])
        kept = store._keys["t"]
        assert (len(kept.records), len(kept._expiry)) == (200, 200), "those of one life, never of two"
        clock.now += 60.0
    await store.apply([Change("t", key="last")])
    kept = store._keys["t"]
    assert (len(kept.records), len(kept._expiry)) == (1, 1)


async def test_an_exhibit_may_keep_one_key_twice_and_still_forgets_it_quietly(clock):
    """Two unguarded callers with one key both make its record; when it expires, it is gone, without an error."""
    gate = Gate()
    store = MemoryStore(pause=gate, limits=Limits(key_life_s=60.0))
    callers = [start(store, Change("t", key="k")) for _ in range(2)]
    await gate.holds(2)
    await gate.open()
    await asyncio.gather(*callers)
    clock.now += 60.0
    assert await store.apply([Change("t", key="k")]) == [Applied(2, 2)]


async def test_open_store_gives_each_caller_counters_of_its_own():
    async with open_store("memory:") as one, open_store("memory:") as other:
        await one.apply([Change("t")])
        assert await other.read("t") == Reading(0, 0)


async def test_open_store_guards_with_a_lock():
    async with open_store("memory:") as store:
        gate = Gate()
        store._pause = gate
        callers = [start(store) for _ in range(3)]
        await gate.holds(1)
        await gate.open()
        assert await asyncio.gather(*callers) == [[Applied(1, 1)], [Applied(2, 2)], [Applied(3, 3)]]


async def test_its_guarantees():
    async with open_store("memory:") as store:
        stated = store.guarantees
    assert (stated.scope, stated.durable, stated.exactly_once) == ("process", "none", True)
    assert stated.notes


def test_a_scheme_that_no_store_answers_to_is_named():
    with pytest.raises(ConfigurationError, match="no store answers to gopher: URLs"):
        open_store("gopher://h")


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "rediss://127.0.0.1:1/0", "unix:///nowhere"])
def test_a_missing_extra_is_named_with_the_line_that_installs_it(url, monkeypatch):
    for module in ("redis", "redis.asyncio"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "quart_counter.stores.redis", raising=False)
    monkeypatch.delattr("quart_counter.stores.redis", raising=False)
    with pytest.raises(ConfigurationError) as raised:
        open_store(url)
    assert "pip install '.[redis]'" in str(raised.value)
