"""Which node of a Redis Cluster has which slot, asked anew when a node says otherwise or falls silent.

slots = Slots(url, limits)
await slots.refresh()
node = slots.node_of("qc:{tickets}")        # its pools: node.flushes, node.reads
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio.connection import BlockingConnectionPool
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import ResponseError

from quart_counter.errors import ConfigurationError
from quart_counter.stores.base import Limits, NeverSent, StoreAway
from quart_counter.stores.redis.address import Place, several
from quart_counter.stores.redis.flush import trip
from quart_counter.stores.redis.session import READ_CONNECTIONS, pool

PORT: Final = 6379
FRESH_S: Final = 0.05


class Node:
    """One server of the cluster: flushes have a connection of their own, reads and questions use others."""

    def __init__(self, place: Place, connect: Callable[[int], BlockingConnectionPool]) -> None:
        self.place = place
        self.flushes, self.reads = connect(1), connect(READ_CONNECTIONS)

    async def aclose(self) -> None:
        """Close both pools."""
        await self.flushes.aclose()
        await self.reads.aclose()


class Slots:
    """The map, and the nodes in it."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._address, self._limits = several(url, PORT), limits
        self._nodes: dict[Place, Node] = {}
        self._owner: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._others: set[Place] = set()  # replicas, which know the map too
        self._one_at_a_time, self._asked_at = asyncio.Lock(), -FRESH_S
        for host in self._address.hosts:
            self.node(host)  # says now what is wrong with the URL

    def node(self, place: Place) -> Node:
        """Return the node at `place`, known or new."""
        if place not in self._nodes:
            url = self._address.server(place)
            self._nodes[place] = Node(place, lambda connections: pool(url, self._limits, connections))
        return self._nodes[place]

    def node_of(self, key: str) -> Node | None:
        """Return the primary that has the key's slot, None if nobody has."""
        place = self._owner[key_slot(key.encode())]
        return None if place is None else self.node(place)

    def primaries(self) -> Sequence[Place]:
        """Return who has a slot, in the order of the slots."""
        return list(dict.fromkeys(place for place in self._owner if place is not None))

    def owners(self) -> Sequence[Place | None]:
        """Return who has each slot."""
        return self._owner

    async def refresh(self) -> None:
        """Ask one node after another for the map, none of them always first; one just asked for is fresh enough.

        Raises StoreAway if nobody answers, ConfigurationError for a server that is in no cluster.
        """
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            if loop.time() < self._asked_at + FRESH_S:
                return
            self._take(await self._ask(), loop.time())

    async def _ask(self) -> tuple[Place, Any]:
        known = list({*self.primaries(), *self._others, *self._address.hosts})
        last: StoreAway = NeverSent("no node of the cluster answers")
        for place in random.sample(known, k=len(known)):
            try:
                (rows,) = await trip(self.node(place).reads, [("CLUSTER", "SLOTS")], self._limits)
            except StoreAway as away:
                last = away
                continue
            if not isinstance(rows, ResponseError):
                return place, rows
            if "cluster support disabled" in str(rows):
                raise ConfigurationError("this Redis is a single server: name it as redis://HOST:PORT/0")
            last = StoreAway(f"Redis refuses it ({rows})")
        raise last

    def _take(self, answer: tuple[Place, Any], now: float) -> None:
        asked, rows = answer
        owner: list[Place | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        others: set[Place] = set()
        for start, end, primary, *replicas in rows:
            owner[start : end + 1] = [_place(primary, asked)] * (end + 1 - start)
            others.update(_place(replica, asked) for replica in replicas)
        self._owner, self._others, self._asked_at = owner, others, now

    async def aclose(self) -> None:
        """Close all pools."""
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))


def _place(row: Sequence[Any], asked: Place) -> Place:
    return row[0] or asked[0], row[1]  # a node that does not know its own address says nothing: it is the one asked
