"""Exhibits in Redis, as people use it by hand: no script, no versions, no keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import redis.asyncio as aioredis
from redis.asyncio.connection import parse_url

from quart_counter.lab import steps
from quart_counter.lab.exhibits.gate import Gate
from quart_counter.lab.exhibits.plain import Plain, after
from quart_counter.model import Change
from quart_counter.stores.base import Guarantees, Limits, Store
from quart_counter.stores.redis import open_store as open_right_store


class _PlainRedis(Plain):
    """redis-py as it comes; shared and durable as the server is, and no more."""

    def __init__(self, client: Any, server: Guarantees) -> None:
        self.guarantees = replace(server, atomic=False, exactly_once=False, versioned=False, gapless=False)
        self._redis, self._gate = client, Gate()

    async def _value(self, name: str) -> int:
        return int(await self._redis.get(_home(name)) or 0)

    async def aclose(self) -> None:
        await self._redis.aclose()


class _GetThenSet(_PlainRedis):
    """GET, add in Python, SET: wrong although it is Redis, for another worker may SET in between."""

    async def _change(self, change: Change) -> int:
        before = await self._value(change.name)
        steps.note("GETs", before)
        await self._gate.wait()
        value = after(before, change)
        await self._redis.set(_home(change.name), value)
        steps.note("SETs", value)
        return value


class _Retry(_PlainRedis):
    """INCRBY through redis-py as it comes: when a reply is lost, its default client sends the command again.

    Not atomic, although INCRBY is: one increment here is one INCRBY, or several.
    """

    async def _change(self, change: Change) -> int:
        if change.value is not None:
            await self._redis.set(_home(change.name), change.value)
            return change.value
        return int(await self._redis.incrby(_home(change.name), change.by))


def _client(mode: str, url: str) -> Any:
    """Redis(host=…) tries again, ten times in redis-py 8.1; Redis.from_url(…) comes with no tries."""
    if mode == "redis-get-set" or not url.startswith("redis:"):
        return aioredis.Redis.from_url(url, decode_responses=True)
    parts: dict[str, Any] = {**parse_url(url)}
    return aioredis.Redis(**parts, decode_responses=True)


def _home(name: str) -> str:
    return f"exhibit:{name}"


@asynccontextmanager
async def open_store(mode: str, url: str, limits: Limits) -> AsyncIterator[Store]:
    """Open `redis-get-set` or `redis-retry`; the right store says what the server keeps. Raises ConfigurationError."""
    async with open_right_store(url, limits) as right:
        store = {"redis-get-set": _GetThenSet, "redis-retry": _Retry}[mode](_client(mode, url), right.guarantees)
    async with aclosing(store):
        yield store
