"""Counters in Redis (or Valkey), through `redis.asyncio`, where aioredis lives now.

Atomic across processes and hosts: one Lua run a counter and flush carries out the rules (`apply.lua`). redis-py's own
retries are off, for they would count twice when a reply is lost; a flush is sent again by us, under its number.

Layout, for the counter `tickets` (the braces keep all of it in one cluster slot):

    qc:{tickets}                    hash: value, version, keys (the ends of the generations that live)
    qc:{tickets}:flush:<worker>     string: that worker's last flush and its reply; lives twice the deadline
    qc:{tickets}:keys:<end in ms>   hash: idempotency key -> fingerprint and answer; lives one to two key lives
    qc:names                        sorted set of all names, for listing in order
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import ReadOnlyError, ResponseError

from quart_counter.errors import ConfigurationError
from quart_counter.model import Reading
from quart_counter.stores.base import Limits, NeverSent, StoreAway, answered
from quart_counter.stores.redis.address import check_options, wait_replicas
from quart_counter.stores.redis.flush import Command, Flushes, home_of, trip, unusable
from quart_counter.stores.redis.questions import ask, info_of, settings_of
from quart_counter.stores.redis.sentinel import let_go_of_the_replaced
from quart_counter.stores.redis.session import READ_CONNECTIONS, check_role, guarantees, pool, replicated
from quart_counter.stores.redis.trust import check_trust

READ_MANY: Final = """
local found = {}
for i, key in ipairs(KEYS) do
  local state = redis.call('HMGET', key, 'value', 'version')
  found[i] = (state[1] or '0') .. ' ' .. (state[2] or '0')
end
return table.concat(found, ' ')
"""
NAMES: Final = "qc:names"
LOOK_S: Final = 1.0  # how often the Sentinels are asked whether the primary is still the same


class RedisStore(Flushes):
    """Counters shared by every process that reaches one Redis; right with any number of workers and hosts."""

    shared_keys = (NAMES,)

    def __init__(self, url: str, limits: Limits) -> None:
        super().__init__(limits)
        self._wait_replicas, self._moves = wait_replicas(url), "+sentinel:" in url
        self._looked_at = 0.0
        self._flushes = pool(url, limits, connections=1)
        self._reads = aioredis.Redis(connection_pool=pool(url, limits, connections=READ_CONNECTIONS))
        self.guarantees = guarantees({}, {})

    async def inspect(self) -> None:
        """Read the server's settings and state the guarantees that they allow."""
        info = await info_of(self._reads, self._limits)
        check_role(info)
        stated = guarantees(info, await settings_of(self._reads, self._limits))
        self.guarantees = replicated([stated], self._wait_replicas) if self._moves else stated

    async def _replies(self, commands: Sequence[Command]) -> Sequence[Any]:
        try:
            return await answered(partial(self._round_trip, commands), self._limits)
        except StoreAway as away:
            return [away] * len(commands)

    async def _round_trip(self, commands: Sequence[Command]) -> list[Any]:
        if self._moves:
            await self._look_where_it_is()
        replies = await trip(self._flushes, commands, self._limits, self._wait_replicas)
        demoted = [reply for reply in replies if isinstance(reply, ReadOnlyError)]
        if self._moves and demoted:
            await self._flushes.disconnect()  # the next connection asks where the primary is now
            raise (NeverSent if len(demoted) == len(replies) else StoreAway)(f"Redis changes places ({demoted[0]})")
        return replies

    async def _look_where_it_is(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._looked_at + LOOK_S:
            self._looked_at = now
            await let_go_of_the_replaced([self._flushes, self._reads.connection_pool])

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment, in one round trip on a connection that carries no flush."""
        value, version = await self._see("HMGET", home_of(name), "value", "version")
        return Reading(int(value or 0), int(version or 0))

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, all of one moment and in one reply: redis-py takes long over many."""
        keys = [home_of(name) for name in names]
        words = (await self._see("EVAL", READ_MANY, len(keys), *keys)).split()
        return [Reading(int(value), int(version)) for value, version in zip(words[::2], words[1::2], strict=True)]

    async def _see(self, *question: Any) -> Any:
        """Ask for readings; with wait_replicas they are told when the replicas have them: none of them will be lost."""
        if not self._wait_replicas:
            return await self._ask(partial(self._reads.execute_command, *question))
        attempt = partial(trip, self._reads.connection_pool, [question], self._limits, self._wait_replicas)
        (reply,) = await answered(attempt, self._limits)
        if isinstance(reply, ResponseError):
            raise StoreAway(f"Redis refuses it ({reply})")
        return reply

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        start = f"({after}" if after else "-"
        names: list[str] = await self._ask(
            partial(self._reads.zrange, NAMES, start, "+", bylex=True, offset=0, num=limit)
        )
        return names

    async def forget(self, name: str) -> None:
        """Remove a counter; what is left of its keys and flushes expires by itself."""
        await self._ask(partial(self._reads.unlink, home_of(name)))
        await self._ask(partial(self._reads.zrem, NAMES, name))

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        if not self._moves:
            return await ask(question(), self._limits)
        return await answered(lambda: ask(question(), self._limits), self._limits)  # another will take over

    async def aclose(self) -> None:
        """Close both pools."""
        await self._flushes.aclose()
        await self._reads.connection_pool.aclose()


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[RedisStore]:
    """Connect, read what the server promises, and close both pools at the end. Raises ConfigurationError."""
    try:
        check_options(url)
        check_trust(url)
        store = RedisStore(url, limits)
    except ValueError:  # its words may repeat a piece of the password
        raise ConfigurationError(
            f"the Redis URL is wrong: use {_form(url)}, and write / # ? @ in a password as %2F %23 %3F %40"
        ) from None
    async with aclosing(store):
        try:
            await store.inspect()
        except StoreAway as away:
            raise unusable(away, f"name another with --url {_form(url, login='')}") from None
        yield store


def _form(url: str, login: str = "USER:PASSWORD@") -> str:
    scheme = "rediss" if url.startswith("rediss") else "redis"
    if "+sentinel:" in url:
        return f"{scheme}+sentinel://{login}HOST:PORT,HOST:PORT/SERVICE/0, the hosts of Sentinels"
    return f"{scheme}://{login}HOST:PORT/0"
