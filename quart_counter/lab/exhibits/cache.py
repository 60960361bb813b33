"""An exhibit in a cache: cachelib's own `inc` on files (what Flask-Caching calls "filesystem"), in sync handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

from cachelib import FileSystemCache

from quart_counter.errors import ConfigurationError
from quart_counter.lab.exhibits.gate import ThreadGate
from quart_counter.lab.exhibits.plain import PLAIN, Plain, Threads
from quart_counter.model import Change
from quart_counter.stores.base import Store


class _Gated(FileSystemCache):
    """The cache as it is; who reads from it waits for the others. `inc` stays cachelib's own: a get, then a set."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, threshold=0, default_timeout=0)  # by default it forgets a number after 5 minutes
        self._gate = ThreadGate()

    def get(self, key: str) -> int | None:
        value = self.now(key)
        self._gate.wait()
        return value

    def now(self, key: str) -> int | None:
        """Return the value at once."""
        value: int | None = super().get(key)
        return value


class _Cached(Plain):
    """Shared by all workers of a host, each replacement of the file atomic, and wrong: `inc` is not."""

    guarantees = replace(PLAIN, scope="host", durable="crash")

    def __init__(self, folder: str) -> None:
        self._cache, self._threads = _Gated(folder), Threads()

    async def _change(self, change: Change) -> int:
        return await self._threads.run(self._handler, change)

    def _handler(self, change: Change) -> int:
        if change.value is not None:
            self._cache.set(change.name, change.value)
            return change.value
        value = self._cache.inc(change.name, change.by)
        if value is None:
            raise OSError("the cache could not write its file")
        return value

    async def _value(self, name: str) -> int:
        return await self._threads.run(self._cache.now, name) or 0

    async def aclose(self) -> None:
        self._threads.close()


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Open the folder that `file:FOLDER` names. Raises ConfigurationError."""
    folder = url.removeprefix("file:")
    try:
        store = _Cached(folder)
    except OSError as error:
        raise ConfigurationError(f"{url} cannot be used ({error.strerror}): name a folder that may be made") from error
    async with aclosing(store):
        yield store
