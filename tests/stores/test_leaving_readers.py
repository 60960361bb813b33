"""Clients that leave during reads cost no connection to the store: on real servers, with the line counted."""

import asyncio
import random
from urllib.parse import urlsplit, urlunsplit

import pytest
from faults.late import LateProxy

from quart_counter.counters import Counters
from quart_counter.stores import open_store

LEAVERS, AT_ONCE = 300, 20
STORES = {"redis": "redis_server", "postgres": "postgres_server", "mysql": "mariadb_server"}
FOR_READS = {"redis": 8, "postgres": 4, "mysql": 4}  # connections at most


async def leave(read, rng):
    """Ask, and be gone a moment later: some before the question left, some with the answer on its way."""
    task = asyncio.ensure_future(read("visits"))
    await asyncio.sleep(rng.uniform(0, 0.004))
    task.cancel()
    await asyncio.wait([task])


async def reconnects(request, mode, *, through_counters):
    """How many connections it took, beyond those that a store opens for reads."""
    server = request.getfixturevalue(STORES[mode])
    parts, rng = urlsplit(server.url), random.Random(1)
    async with LateProxy(parts.hostname, parts.port) as line:
        login = parts.netloc.rpartition("@")[0]
        url = urlunsplit(parts._replace(netloc=f"{login}@{line.address}" if login else line.address))
        async with open_store(url) as store:
            counters = Counters(store, deadline_s=5.0, combine=True)
            read = counters.read if through_counters else store.read
            await asyncio.gather(*(read("visits") for _ in range(2 * FOR_READS[mode])))
            line.delay_s, before = 0.002, line.accepted
            for _ in range(LEAVERS // AT_ONCE):
                await asyncio.gather(*(leave(read, rng) for _ in range(AT_ONCE)))
            line.delay_s = 0.0
            await read("visits")
            await counters.drain()
            return line.accepted - before


@pytest.mark.parametrize("mode", STORES)
async def test_readers_that_leave_cost_no_connection(request, mode):
    assert await reconnects(request, mode, through_counters=True) <= LEAVERS / 100


@pytest.mark.parametrize("mode", STORES)
async def test_a_store_that_is_asked_without_counters_loses_them(request, mode):
    """The opposite: a driver that is cancelled in the middle throws its connection away."""
    assert await reconnects(request, mode, through_counters=False) > LEAVERS / 100
