"""An exhibit in memcached: get, add in Python, set. cachelib's `inc` on memcached, and so Flask-Caching's, is this."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from quart_counter.lab import steps
from quart_counter.lab.exhibits.gate import Gate
from quart_counter.lab.exhibits.plain import Plain, after
from quart_counter.model import Change
from quart_counter.stores.base import Guarantees, Limits, Store, StoreAway
from quart_counter.stores.memcached import open_store as open_right_store
from quart_counter.stores.memcached.wire import Reply, Wire, gets

WIRES: Final = 8  # as a pool would have: with one connection the commands would queue, and so be fewer together


class _GetThenSet(Plain):
    """Reads with `gets`, and then does not use the token that came with it: `set` instead of `cas`."""

    def __init__(self, url: str, limits: Limits, server: Guarantees) -> None:
        self.guarantees = replace(server, atomic=False, exactly_once=False, versioned=False, gapless=False)
        parts = urlsplit(url)
        home = (parts.hostname or "127.0.0.1", parts.port or 11211, limits.deadline_s)
        self._wires = [Wire(*home) for _ in range(WIRES)]
        self._gate, self._turn = Gate(), 0

    async def _change(self, change: Change) -> int:
        before = await self._value(change.name)
        steps.note("gets", before)
        await self._gate.wait()
        value = after(before, change)
        data = b"%d" % value
        reply = await self._ask(b"set %b 0 0 %d\r\n%b\r\n" % (_home(change.name).encode(), len(data), data))
        if reply.line != b"STORED":
            raise StoreAway(f"memcached refuses it ({reply.line.decode(errors='replace')})")
        steps.note("sets", value)
        return value

    async def _value(self, name: str) -> int:
        return int((await self._ask(gets(_home(name)))).data or 0)

    async def _ask(self, command: bytes) -> Reply:
        self._turn += 1
        return (await self._wires[self._turn % WIRES].exchange([command]))[0]

    async def aclose(self) -> None:
        for wire in self._wires:
            await wire.aclose()


def _home(name: str) -> str:
    return f"exhibit:{name}"


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[Store]:
    """Open it; the right store says what the server keeps. Raises ConfigurationError."""
    async with open_right_store(url, limits) as right:
        store = _GetThenSet(url, limits, right.guarantees)
    async with aclosing(store):
        yield store
