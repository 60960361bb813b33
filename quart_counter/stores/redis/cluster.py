"""Counters in a Redis Cluster: each counter in one slot, so in one node; a flush goes to all its nodes at once.

The rules, the script and the numbers of flushes are those of one Redis. We route ourselves: MOVED, ASK and TRYAGAIN
mean "not executed here", so following them is safe, and redis-py's cluster client would also send again what may have
counted. After a lost reply we send again under the flush's number: its record lies in the counter's own slot and is
replicated in one piece with the count, so on a new primary either both are there or neither.

Layout: that of one Redis, but the names lie in sixteen sorted sets `qc:names:{0}` ... `qc:names:{15}`. A name is put
there after its first change, in a second step that can be repeated: a crash in between loses a listing, never a count,
and the next change through any other worker mends it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import redis.asyncio as aioredis
from redis.crc import key_slot

from quart_counter.errors import ConfigurationError
from quart_counter.model import Applied, Change, Outcome, Reading
from quart_counter.stores.base import Guarantees, Limits, StoreAway
from quart_counter.stores.redis.address import Place, check_options, several, wait_replicas
from quart_counter.stores.redis.flush import Command, Flushes, home_of, unusable
from quart_counter.stores.redis.questions import info_of, settings_of
from quart_counter.stores.redis.routes import Routes
from quart_counter.stores.redis.session import guarantees, replicated
from quart_counter.stores.redis.slots import PORT, Slots
from quart_counter.stores.redis.trust import check_trust

LISTS: Final = 16
MAX_LISTED: Final = 100_000  # names that a worker knows to be listed


class Lane(Flushes):
    """The flushes of the counters that one primary had when we came: a node that is slow holds up its own alone."""

    def __init__(self, routes: Routes, limits: Limits, wait: int) -> None:
        super().__init__(limits)
        self._routes, self._wait = routes, wait

    async def _replies(self, commands: Sequence[Command]) -> Sequence[Any]:
        homes = [command[3] for command in commands]
        return await self._routes.flush(commands, homes, self._limits, self._wait)


class RedisClusterStore:
    """Counters shared by every process that reaches one cluster; right with any number of workers, hosts and nodes."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._limits, self._wait = limits, wait_replicas(url)
        self._slots = Slots(url, limits)
        self._routes = Routes(self._slots)
        self._lanes: list[Lane] = []
        self._lane_of_slot: list[int] = []
        self._listed: set[str] = set()
        self.guarantees = guarantees({}, {})

    async def inspect(self) -> None:
        """Learn the map, open a lane for each primary, and state what all of them keep."""
        await self._slots.refresh()
        owners = self._slots.owners()
        if None in owners:
            raise ConfigurationError(
                f"{owners.count(None)} of the {len(owners)} slots of this Redis Cluster are in no node: run redis-cli "
                "--cluster check HOST:PORT"
            )
        places = self._slots.primaries()
        self._lanes = [Lane(self._routes, self._limits, self._wait) for _ in places]
        number = {place: i for i, place in enumerate(places)}
        self._lane_of_slot = [number[place] for place in owners if place is not None]
        self.guarantees = replicated(await asyncio.gather(*map(self._promise, places)), self._wait)

    async def _promise(self, place: Place) -> Guarantees:
        server = aioredis.Redis(connection_pool=self._slots.node(place).reads)
        return guarantees(await info_of(server, self._limits), await settings_of(server, self._limits))

    @property
    def lanes(self) -> int:
        """How many flushes it takes at the same time."""
        return len(self._lanes)

    def lane_of(self, name: str) -> int:
        """Return the lane of a counter: always the same while the store is open, wherever its slot goes."""
        return self._lane_of_slot[key_slot(home_of(name).encode())]

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order, atomically per name, all nodes at once; then list the names that are new."""
        shares: dict[int, list[int]] = {}
        for position, change in enumerate(changes):
            shares.setdefault(self.lane_of(change.name), []).append(position)
        answers = await asyncio.gather(
            *(self._lanes[lane].apply([changes[i] for i in places]) for lane, places in shares.items())
        )
        outcomes: dict[int, Outcome] = {}
        for places, answer in zip(shares.values(), answers, strict=True):
            outcomes.update(zip(places, answer, strict=True))
        told = [outcomes[i] for i in range(len(changes))]
        await self._list(self._unlisted(changes, told))
        return told

    def _unlisted(self, changes: Sequence[Change], outcomes: Sequence[Outcome]) -> Sequence[str]:
        """Return the names to list: those we do not know to be listed, and those that began in this flush."""
        pairs = zip(changes, outcomes, strict=True)
        applied = [(change, outcome.version) for change, outcome in pairs if isinstance(outcome, Applied)]
        return sorted({one.name for one, version in applied if self._is_new(one, version, len(changes))})

    def _is_new(self, change: Change, version: int, changes: int) -> bool:
        # another worker may have made it forgotten, or restored it, since we saw it listed
        return change.name not in self._listed or version <= changes or change.version is not None

    async def _list(self, names: Sequence[str]) -> None:
        if not names:
            return
        lists = [_list_of(name) for name in names]
        commands = [("ZADD", key, 0, name) for key, name in zip(lists, names, strict=True)]
        try:
            await self._routes.ask(commands, lists, replace(self._limits, deadline_s=self._limits.store_timeout_s))
        except StoreAway:  # it counts and is not listed yet; its next change tries again
            return
        if len(self._listed) > MAX_LISTED:
            self._listed.clear()
        self._listed.update(names)

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment, from the primary."""
        (reading,) = await self.read_many([name])
        return reading

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, each of one moment, from all nodes at once."""
        homes = [home_of(name) for name in names]
        questions = [("HMGET", home, "value", "version") for home in homes]
        # What was read must not be lost either: with wait_replicas it is told when the replicas have it.
        found = await self._routes.ask(questions, homes, self._limits, self._wait)
        return [Reading(int(value or 0), int(version or 0)) for value, version in found]

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order: merged from the sixteen lists."""
        start = f"({after}" if after else "-"
        lists = [_list_key(number) for number in range(LISTS)]
        found = await self._ask([("ZRANGE", key, start, "+", "BYLEX", "LIMIT", 0, limit) for key in lists], lists)
        return list(islice(heapq.merge(*found), limit))

    async def forget(self, name: str) -> None:
        """Remove a counter; what is left of its keys and flushes expires by itself."""
        home, key = home_of(name), _list_of(name)
        self._listed.discard(name)
        await self._ask([("UNLINK", home)], [home])
        await self._ask([("ZREM", key, name)], [key])

    async def _ask(self, commands: Sequence[Command], keys: Sequence[str]) -> list[Any]:
        return await self._routes.ask(commands, keys, self._limits)

    async def aclose(self) -> None:
        """Close all connections to all nodes."""
        await self._slots.aclose()


def _list_of(name: str) -> str:
    return _list_key(key_slot(name.encode()) % LISTS)


def _list_key(number: int) -> str:
    return f"qc:names:{{{number}}}"


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[RedisClusterStore]:
    """Connect, learn the nodes, read what they promise, and close all at the end. Raises ConfigurationError."""
    try:
        check_options(url)
        check_trust(url)
        if several(url, PORT).path not in ((), ("0",)):
            raise ConfigurationError("a Redis Cluster has no databases: leave out what stands after the hosts")
        store = RedisClusterStore(url, limits)
    except ValueError:  # its words may repeat a piece of the password
        raise ConfigurationError(
            "the URL of the Redis Cluster is wrong: use redis+cluster://USER:PASSWORD@HOST:PORT,HOST:PORT, and write "
            "/ # ? @ in a password as %2F %23 %3F %40"
        ) from None
    async with aclosing(store):
        try:
            await store.inspect()
        except StoreAway as away:
            scheme = url.partition(":")[0]
            raise unusable(away, f"name one of its nodes with --url {scheme}://HOST:PORT") from None
        yield store
