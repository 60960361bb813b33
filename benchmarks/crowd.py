"""Measures without wrk: many tasks of one process count, through ours and through `await redis.incr()`, in turn.

The tasks are let to their end, so the total has to be exactly what they were answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, NamedTuple

from benchmarks.report import Row
from benchmarks.servers import SERVERS, Stores, start, sum_of_ours
from quart_counter.counters import Counters
from quart_counter.stores import open_store

Increment = Callable[[], Awaitable[int]]
NAME: Final = "tickets"


@dataclass(frozen=True)
class Side:
    """One way to count: the call that each task makes, and how to read what was counted in all."""

    increment: Increment
    total: Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class Contest:
    """`tasks` tasks through ours and through redis-py; ours must be `goal` times as fast."""

    name: str
    title: str
    tasks: int
    goal: float
    needs: tuple[str, ...]
    ours: Callable[[Stores], Any]  # an async context manager that gives a Side


class Pace(NamedTuple):
    """Increments a second, and the processor time that this process spent on each."""

    per_s: float
    cpu_us: float


@dataclass
class Pair:
    """What each side reached, round by round; `wrong` says why it is not told."""

    contest: Contest
    ours: list[Pace] = field(default_factory=list)
    theirs: list[Pace] = field(default_factory=list)
    wrong: str = ""


@asynccontextmanager
async def _library(stores: Stores) -> AsyncIterator[Side]:
    async with open_store(stores.redis.url) as store:
        counters = Counters(store, deadline_s=5.0, combine=True)

        async def total() -> int:
            return (await counters.read(NAME)).value

        yield Side(lambda: counters.increment(NAME), total)


@asynccontextmanager
async def _client(stores: Stores) -> AsyncIterator[Side]:
    from quart_counter.client import CounterClient

    server = next(one for one in SERVERS if one.name == "redis")
    running = start(server, stores)
    await asyncio.to_thread(running.__enter__)
    try:
        async with CounterClient(running.url) as client:
            yield Side(lambda: client.increment(NAME), lambda: asyncio.to_thread(sum_of_ours, running.url))
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@asynccontextmanager
async def _redis_py(url: str, tasks: int) -> AsyncIterator[Side]:
    """redis-py with a connection for every task: its pool raises no error, and nobody waits for another's."""
    import redis.asyncio as aioredis

    async with aioredis.Redis.from_url(url, max_connections=tasks) as redis:

        async def total() -> int:
            return int(await redis.get("incr") or 0)

        yield Side(lambda: redis.incr("incr"), total)


CONTESTS: Final[Sequence[Contest]] = (
    Contest(
        "client",
        "CounterClient, 1,000 tasks, over HTTP to Redis, to redis.incr() straight to Redis",
        1000,
        10,
        ("redis", "redis-server", "httpx", "uvloop"),
        _client,
    ),
    Contest(
        "library",
        "counters.increment on Redis, 500 tasks, to redis.incr()",
        500,
        15,
        ("redis", "redis-server", "uvloop"),
        _library,
    ),
)


def measure(contest: Contest, *, rounds: int, seconds: float) -> Pair:
    """Run `contest` on uvloop, as the HTTP measures are."""
    import uvloop

    with Stores() as stores, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_contest(contest, stores, rounds, seconds))


async def _contest(contest: Contest, stores: Stores, rounds: int, seconds: float) -> Pair:
    pair = Pair(contest)
    async with contest.ours(stores) as ours, _redis_py(stores.redis.url, contest.tasks) as theirs:
        for number in range(rounds + 1):  # the first one warms up
            for side, paces in ((ours, pair.ours), (theirs, pair.theirs)):
                pace = await _round(side, contest.tasks, seconds, pair)
                if number:
                    paces.append(pace)
    return pair


async def _round(side: Side, tasks: int, seconds: float, pair: Pair) -> Pace:
    before, began, cpu_s = await side.total(), time.perf_counter(), time.process_time()
    answered = await _hammer(side.increment, tasks, began + seconds)
    lasted, spent_s = time.perf_counter() - began, time.process_time() - cpu_s
    counted = await side.total() - before
    if counted != answered:
        pair.wrong = f"{answered} increments were answered, and the total grew by {counted}"
    return Pace(answered / lasted, spent_s / answered * 1e6)


async def _hammer(increment: Increment, tasks: int, until: float) -> int:
    """Let each task count one after another until then; return how many were answered in all."""

    async def one() -> int:
        answered = 0
        while time.perf_counter() < until:
            await increment()
            answered += 1
        return answered

    return sum(await asyncio.gather(*(one() for _ in range(tasks))))


def row(pair: Pair, *, judged: bool) -> Row:
    """Compare the two medians."""
    contest, goal = pair.contest, f">= {pair.contest.goal:.0f}"
    if pair.wrong:
        return Row(contest.name, contest.title, "-", goal, None, note=pair.wrong)
    ours, theirs = _medians(pair.ours), _medians(pair.theirs)
    ratio = ours.per_s / theirs.per_s
    met = ratio >= contest.goal if judged else None
    by_cpu = f"{theirs.cpu_us / ours.cpu_us:.1f}"
    note = f"{ours.per_s:,.0f} to {theirs.per_s:,.0f} increments/s"
    return Row(contest.name, contest.title, f"{ratio:.1f}", goal, met, by_cpu, note)


def _medians(paces: Sequence[Pace]) -> Pace:
    return Pace(median(pace.per_s for pace in paces), median(pace.cpu_us for pace in paces))
