"""Growth with the number of counters: what an increment costs, and how much memory, while 1 to 1,000,000 exist.

One caller increments counters drawn at random among all there are, one after another, through the library: what is the
same for every one of them cannot be shared, so this is the dearest way to count. Each answer is compared with what that
counter must say.
"""

from __future__ import annotations

import asyncio
import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.report import Row, Table
from benchmarks.servers import Stores
from quart_counter.counters import Counters
from quart_counter.model import Change
from quart_counter.stores import Limits, Store, open_store

SIZES: Final = (1, 1_000, 1_000_000)
QUICK: Final = (1, 1_000, 10_000)
MODES: Final = ("lock", "redis")
SAMPLE: Final = 30_000  # counters, or keys, whose memory is measured
FLAT: Final = 1.2
BATCH: Final = 512
SHORT: Final = Limits(store_timeout_s=1.0, deadline_s=1.0)  # so that a flush's record is soon gone
INCREMENTS: Final = {"lock": 20_000, "redis": 2_000}  # in a round
RECORDS_GONE_S: Final = 30.0


@dataclass
class Population:
    """A store with `size` counters in it, what each of them must say, and what an increment took, round by round."""

    size: int
    counters: Counters
    expected: Counter[int] = field(default_factory=Counter)
    us: list[float] = field(default_factory=list)
    wrong: str = ""


Times = dict[str, dict[int, float]]  # mode, counters, microseconds


def measure(sizes: Sequence[int], *, rounds: int, say: Callable[[str], None]) -> tuple[Times, list[str]]:
    """Return the least microseconds of an increment for each mode and size, and what was wrong."""
    import uvloop

    with Stores() as stores, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(stores, sizes, rounds, say))


async def _measure(
    stores: Stores, sizes: Sequence[int], rounds: int, say: Callable[[str], None]
) -> tuple[Times, list[str]]:
    times: Times = {}
    wrong: list[str] = []
    for mode in MODES:
        async with AsyncExitStack() as stack:
            say(f"{mode}: making up to {max(sizes):,} counters")
            populations = [await _populated(stack, url_of(mode, stores, i), size) for i, size in enumerate(sizes)]
            for _ in range(rounds):
                for population in populations:
                    await _round(population, INCREMENTS[mode])
            times[mode] = {one.size: min(one.us) for one in populations}  # what disturbs a round only adds
            wrong += [f"{mode}: {one.wrong}" for one in populations if one.wrong]
    return times, wrong


def url_of(mode: str, stores: Stores, place: int) -> str:
    """Return the address of an empty store: each size has a database of its own in the one Redis."""
    return f"{stores.redis.url.rpartition('/')[0]}/{place + 1}" if mode == "redis" else "memory:"


async def _populated(stack: AsyncExitStack, url: str, size: int) -> Population:
    store = await stack.enter_async_context(open_store(url, SHORT))
    await fill(store, size)
    return Population(size, Counters(store, deadline_s=SHORT.deadline_s, combine=url != "memory:"))


async def fill(store: Store, size: int, change: Callable[[int], Change] = lambda i: Change(f"c{i}")) -> None:
    """Make `size` changes, as many at a time as a flush may carry."""
    for at in range(0, size, BATCH):
        await store.apply([change(i) for i in range(at, min(at + BATCH, size))])


async def _round(population: Population, increments: int) -> None:
    names = [random.randrange(population.size) for _ in range(increments)]
    increment = population.counters.increment
    began = time.perf_counter()
    answers = [await increment(f"c{name}") for name in names]
    population.us.append((time.perf_counter() - began) / increments * 1e6)
    for name, answer in zip(names, answers, strict=True):
        population.expected[name] += 1
        if answer != 1 + population.expected[name]:  # 1: it was made
            population.wrong = f"counter {name} answered {answer} instead of {1 + population.expected[name]}"


def rows(times: Times, wrong: Sequence[str], *, judged: bool) -> list[Row]:
    """Judge how flat it is: the dearest size to the cheapest."""
    return [
        _row(mode, by_size, [one for one in wrong if one.startswith(mode)], judged) for mode, by_size in times.items()
    ]


def _row(mode: str, by_size: Mapping[int, float], wrong: Sequence[str], judged: bool) -> Row:
    title = f"{mode} mode, 1 to {max(by_size):,} counters: dearest increment to cheapest"
    if wrong:
        return Row("counters", title, "-", f"<= {FLAT}", None, note=wrong[0])
    ratio = max(by_size.values()) / min(by_size.values())
    return Row("counters", title, f"{ratio:.2f}", f"<= {FLAT}", ratio <= FLAT if judged else None)


def table(times: Times) -> Table:
    """A row a number of counters, microseconds in each mode."""
    sizes = next(iter(times.values()))
    cells = [[f"{size:,}", *(f"{times[mode][size]:.1f}" for mode in times)] for size in sizes]
    return Table("Counters", ["counters", *(f"{mode}, us an increment" for mode in times)], cells)


def bytes_each(say: Callable[[str], None]) -> Table:
    """Return how much memory one more counter, and one more key, takes in each mode."""
    say("memory of a counter and of a key")
    with Stores() as stores:
        cells = [
            [what, *(f"{asyncio.run(_bytes(mode, stores, i, change)):.0f}" for mode in MODES)]
            for i, (what, change) in enumerate(WHAT.items())
        ]
    return Table("Memory", [f"bytes each, of {SAMPLE:,}", *MODES], cells)


WHAT: Final[Mapping[str, Callable[[int], Change]]] = {
    "a counter": lambda i: Change(f"c{i:07}"),
    "an idempotency key of 36 characters": lambda i: Change(f"c{i % 20}", key=f"{i:036}"),
}


async def _bytes(mode: str, stores: Stores, place: int, change: Callable[[int], Change]) -> float:
    url = url_of(mode, stores, 10 + place)
    if mode == "lock":
        tracemalloc.start()
    try:
        async with open_store(url, SHORT) as store:
            await fill(store, 20, lambda i: Change(f"c{i}"))  # the keys' counters, and what any first call makes
            before = await _held(url)
            await fill(store, SAMPLE, change)
            return (await _held(url) - before) / SAMPLE
    finally:
        tracemalloc.stop()


async def _held(url: str) -> int:
    """Return the bytes in use: by this process, or by the Redis once the records of our flushes are gone."""
    if url == "memory:":
        return tracemalloc.get_traced_memory()[0]
    import redis.asyncio as aioredis

    async with aioredis.Redis.from_url(url) as redis:
        await _records_gone(redis)
        return int((await redis.info("memory"))["used_memory"])


async def _records_gone(redis: Any) -> None:
    give_up = time.monotonic() + RECORDS_GONE_S
    while time.monotonic() < give_up and [key async for key in redis.scan_iter("qc:*:flush:*", count=10_000)]:  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0.2)
