"""An exhibit in a multiprocessing manager: `proxy.value += 1`, which looks like one step and is two trips.

A manager's value is shared by the workers and safe from torn writes, and still two of them read the same number before
either writes it back. (The right way runs the whole step inside the manager: mode `manager`.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import replace
from multiprocessing import AuthenticationError, managers
from multiprocessing.managers import BaseManager, ValueProxy
from typing import Any, Final
from urllib.parse import urlsplit

from quart_counter.errors import ConfigurationError
from quart_counter.lab.exhibits.gate import ThreadGate
from quart_counter.lab.exhibits.plain import PLAIN, Plain, Threads
from quart_counter.model import Change
from quart_counter.stores.base import Store
from quart_counter.stores.manager.process import private_manager, serve, started

_numbers: Final[dict[str, Any]] = {}  # in the manager's process: the value of each name


def _number(name: str) -> Any:
    return _numbers.setdefault(name, managers.Value("q", 0))  # type: ignore[attr-defined]  # the stubs hide it


class _Proxy(ValueProxy[int]):
    """multiprocessing's own proxy of a value; who reads it waits for the others, if there is a `gate`."""

    gate: ThreadGate | None = None

    def _gated(self) -> int:
        value: int = self.get()
        if self.gate is not None:
            self.gate.wait()
        return value

    value = property(_gated, ValueProxy.set)


class _Manager(BaseManager):
    """A manager of numbers by name."""


_Manager.register("number", callable=_number, proxytype=_Proxy)


class _Proxied(Plain):
    """The line people write, in sync handlers: `proxy.value += 1`, then the answer is read."""

    def __init__(self, manager: Any, shared: bool) -> None:
        self.guarantees = replace(PLAIN, scope="host" if shared else "process")
        self._manager = manager
        self._gate, self._threads = ThreadGate(), Threads()
        self._proxies: dict[str, _Proxy] = {}

    async def _change(self, change: Change) -> int:
        return await self._threads.run(self._handler, change)

    def _handler(self, change: Change) -> int:
        proxy = self._proxy(change.name)
        if change.value is not None:
            proxy.set(change.value)
            return change.value
        proxy.value += change.by
        return proxy.get()

    async def _value(self, name: str) -> int:
        return await self._threads.run(lambda: self._proxy(name).get())

    def _proxy(self, name: str) -> _Proxy:
        proxy = self._proxies.get(name)
        if proxy is None:
            proxy = self._manager.number(name)
            proxy.gate = self._gate
            proxy = self._proxies.setdefault(name, proxy)
        return proxy

    async def aclose(self) -> None:
        self._proxies.clear()
        self._threads.close()


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """Connect to the manager that `url` names; for `manager:` alone, start one for this worker."""
    shared = urlsplit(url).path != ""
    with nullcontext(url) if shared else private_numbers() as address:
        async with aclosing(_Proxied(_connected(address), shared)) as store:
            yield store


def _connected(url: str) -> _Manager:
    parts = urlsplit(url)
    try:
        manager = _Manager(parts.path, bytes.fromhex(parts.password or ""))
        manager.connect()
    except (OSError, EOFError, AuthenticationError, ValueError) as error:
        raise ConfigurationError("the manager does not answer: use --url manager: and one is started") from error
    return manager


@contextmanager
def private_counters() -> Iterator[str]:
    """Start the manager of the right mode for one `with` block and give its URL."""
    with private_manager() as manager:
        yield manager.url


@contextmanager
def private_numbers() -> Iterator[str]:
    """Start a manager of numbers for one `with` block and give its URL."""
    with started("quart_counter.lab.exhibits.manager") as manager:
        yield manager.url


if __name__ == "__main__":
    serve(_Manager)
