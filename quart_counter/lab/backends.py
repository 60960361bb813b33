"""Private backends: for any mode a store of its own, with handles to stop, start and kill what runs it.

    with backend("redis") as private:
        private.url
        private.server.kill(), private.server.start()

Stores that live in the worker (memory, SQLite, files) have no server; what happens to the worker happens to them.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

from quart_counter.lab.proxy import Fault, FaultProxy
from quart_counter.settings.modes import MODES


class BadLine(NamedTuple):
    """A line that now and then does something to the reply of one command."""

    command: bytes
    mix: Mapping[Fault, float]


# Modes that are only wrong on a bad line.
BAD_LINES: Final = {"redis-retry": BadLine(b"INCRBY", {"pass": 4, "drop": 1})}


class Server(Protocol):
    """What runs a store: every call returns when it is done."""

    @property
    def url(self) -> str:
        """Its address now; after a start it may be another."""

    def start(self) -> None:
        """Start it, where it was."""

    def stop(self) -> None:
        """End it in good order."""

    def kill(self) -> None:
        """End it as a crash would."""


@dataclass(frozen=True)
class Backend:
    """Where a mode's numbers lie for one run; `server` is None where they live in the worker or in files."""

    fixed_url: str
    server: Server | None = None

    @property
    def url(self) -> str:
        """The store's address now."""
        return self.server.url if self.server is not None else self.fixed_url


@contextmanager
def backend(mode: str) -> Iterator[Backend]:
    """Give `mode` a store of its own for one `with` block.

    Raises ServerMissing (a ConfigurationError) with the command that mends it. Blocks while a server starts: up to some
    seconds for a database.
    """
    url = MODES[mode].default_url
    scheme = url.partition(":")[0]
    if scheme in _SERVERS:
        with _SERVERS[scheme](mode) as server:
            yield Backend(server.url, server)
    elif scheme in ("sqlite", "file"):
        with tempfile.TemporaryDirectory(prefix="quart-counter-lab-") as folder:
            yield Backend(f"{scheme}:{Path(folder, 'counters')}")
    else:
        yield Backend(url)


@asynccontextmanager
async def line_to(mode: str, url: str) -> AsyncIterator[str]:
    """Give the URL by which a race reaches its store; for a mode of BAD_LINES on a line that loses replies."""
    bad = BAD_LINES.get(mode)
    if bad is None:
        yield url
        return
    parts = urlsplit(url)
    async with FaultProxy(parts.hostname or "127.0.0.1", parts.port or 6379, mix=bad.mix, only=bad.command) as proxy:
        login = parts.netloc.rpartition("@")[0]
        yield urlunsplit(parts._replace(netloc=f"{login}@{proxy.address}" if login else proxy.address))


def _redis(mode: str) -> AbstractContextManager[Server]:
    from quart_counter.local.redis import private_redis

    # Not everysec: while its fsync is under way Redis answers first and writes up to 2 s later (flushAppendOnlyFile),
    # so a kill -9 then loses what was answered.
    return private_redis(appendonly="always")


def _postgres(mode: str) -> AbstractContextManager[Server]:
    from quart_counter.local.postgres import private_postgres

    return private_postgres()


def _mariadb(mode: str) -> AbstractContextManager[Server]:
    from quart_counter.local.mariadb import private_mariadb

    return private_mariadb()


def _memcached(mode: str) -> AbstractContextManager[Server]:
    from quart_counter.local.memcached import private_memcached

    return private_memcached(extra_args=["-M"])  # full, it refuses: one that evicts promises less


def _start_manager(mode: str) -> AbstractContextManager[str]:
    """Start the manager of the right mode, or that of the exhibit; give its URL."""
    if MODES[mode].exhibit:
        from quart_counter.lab.exhibits.manager import private_numbers

        return private_numbers()
    from quart_counter.lab.exhibits.manager import private_counters

    return private_counters()


class _Manager:
    """A multiprocessing manager: it keeps nothing, so a stop is a kill, and a start is another one elsewhere."""

    def __init__(self, start: Callable[[], AbstractContextManager[str]]) -> None:
        self._begin = start
        self._running = ExitStack()
        self.url = ""

    def __enter__(self) -> _Manager:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        self.url = self._running.enter_context(self._begin())

    def stop(self) -> None:
        self._running.close()

    kill = stop


_SERVERS: Final[Mapping[str, Callable[[str], AbstractContextManager[Server]]]] = {
    "redis": _redis,
    "postgresql": _postgres,
    "mysql": _mariadb,
    "memcached": _memcached,
    "manager": lambda mode: _Manager(lambda: _start_manager(mode)),
}
