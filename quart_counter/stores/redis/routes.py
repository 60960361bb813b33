"""Brings commands to the nodes of a Redis Cluster that have their keys, again and again until they were carried out.

A redirection says that nothing happened, so it is followed. A lost reply says nothing: only what may be carried out
twice comes this way, reads and flushes under their number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio.connection import BlockingConnectionPool
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from quart_counter.stores.base import Limits, NeverSent, Patience, StoreAway
from quart_counter.stores.redis.flush import Command, trip
from quart_counter.stores.redis.slots import Node, Slots

# Not carried out, and will be elsewhere or soon. TRYAGAIN: the slot is on its way to another node, key by key.
ELSEWHERE: Final = (MovedError, AskError, TryAgainError, ClusterDownError, MasterDownError, ReadOnlyError)


class Routes:
    """Sends by key. A reply is what the node said, or the StoreAway of the last try when it was too late."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    async def flush(
        self, commands: Sequence[Command], keys: Sequence[str], limits: Limits, wait_replicas: int
    ) -> list[Any]:
        """Carry out numbered script runs, on the connections that carry nothing else."""
        return await _Journey(self._slots, commands, keys, limits, lambda node: node.flushes, wait_replicas).run()

    async def ask(
        self, commands: Sequence[Command], keys: Sequence[str], limits: Limits, wait_replicas: int = 0
    ) -> list[Any]:
        """Carry out what may be carried out twice. Raises StoreAway if one of them cannot be."""
        replies = await _Journey(self._slots, commands, keys, limits, lambda node: node.reads, wait_replicas).run()
        for reply in replies:
            if isinstance(reply, StoreAway):
                raise reply
            if isinstance(reply, ResponseError):
                raise StoreAway(f"Redis refuses it ({reply})")
        return replies


class _Journey:
    """Some commands on their way."""

    def __init__(
        self,
        slots: Slots,
        commands: Sequence[Command],
        keys: Sequence[str],
        limits: Limits,
        pool_of: Callable[[Node], BlockingConnectionPool],
        wait_replicas: int = 0,
    ) -> None:
        self._slots, self._commands, self._keys, self._limits = slots, commands, keys, limits
        self._pool_of, self._wait = pool_of, wait_replicas
        self._replies: list[Any] = [NeverSent("no node of the cluster has its slot")] * len(commands)
        self._doubtful: set[int] = set()

    async def run(self) -> list[Any]:
        """Try until all are answered or the deadline has come."""
        waiting, patience = list(range(len(self._commands))), Patience(self._limits)
        while True:
            await asyncio.gather(*(self._visit(node, some) for node, some in self._by_node(waiting).items()))
            waiting = [i for i in waiting if isinstance(self._replies[i], StoreAway)]
            if not waiting or not await patience.again():
                return self._replies
            await self._look_again()

    def _by_node(self, waiting: Sequence[int]) -> dict[Node, list[int]]:
        by_node: dict[Node, list[int]] = {}
        for i in waiting:
            node = self._slots.node_of(self._keys[i])
            if node is not None:
                by_node.setdefault(node, []).append(i)
        return by_node

    async def _visit(self, node: Node, some: Sequence[int]) -> None:
        try:
            replies = await self._trip(node, [self._commands[i] for i in some])
        except StoreAway as away:
            for i in some:
                self._put_off(i, away)
            return
        for i, reply in zip(some, replies, strict=True):
            if isinstance(reply, AskError) and not isinstance(reply, MovedError):
                await self._follow(i, reply, node)
            else:
                self._take(i, reply)

    async def _follow(self, i: int, told: AskError, by: Node) -> None:
        """Ask, this once, the node that a slot is on its way to; without a host it is another port of the same."""
        node = self._slots.node((told.host or by.place[0], told.port))
        try:
            _, reply = await self._trip(node, [("ASKING",), self._commands[i]])
        except StoreAway as away:
            self._put_off(i, away)
            return
        self._take(i, reply)

    async def _trip(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        return await trip(self._pool_of(node), commands, self._limits, self._wait)

    def _take(self, i: int, reply: Any) -> None:
        if isinstance(reply, ELSEWHERE):
            self._put_off(i, NeverSent(f"the cluster is changing places ({type(reply).__name__}: {reply})"))
            return
        self._replies[i] = reply

    def _put_off(self, i: int, away: StoreAway) -> None:
        if not isinstance(away, NeverSent):
            self._doubtful.add(i)
        self._replies[i] = StoreAway(str(away)) if i in self._doubtful else away

    async def _look_again(self) -> None:
        try:
            await self._slots.refresh()
        except StoreAway:  # nobody tells now; the map we have is as good as any
            return
