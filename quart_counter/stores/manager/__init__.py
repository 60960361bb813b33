"""Counters in a multiprocessing manager: a process of ours that the workers of one host share.

Atomic across processes: the whole step runs inside one method of the served object (`Numbers.apply`), under a lock that
only the manager's own threads take. So `proxy.value += 1`, which is two trips, does not exist here, and a client killed
in the middle of a call leaves no lock held: the method ends without it.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import astuple
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any
from urllib.parse import urlsplit

from quart_counter.errors import ConfigurationError
from quart_counter.model import Change, Outcome, Reading
from quart_counter.stores.base import Guarantees, Limits, NeverSent, StoreAway, answered, outcome_of
from quart_counter.stores.manager.process import KINDS, private_manager
from quart_counter.stores.thread import Thread

__all__ = ["ManagerStore", "open_store", "private_manager"]


class _Line:
    """One connection to the manager and the thread that waits on it; no wait is longer than `timeout_s`."""

    def __init__(self, address: str, authkey: bytes, timeout_s: float) -> None:
        self._address, self._authkey, self._timeout_s = address, authkey, timeout_s
        self._thread = Thread("quart-counter-manager", "the manager")
        self._patience_s = 2 * timeout_s
        self._connection: Connection | None = None
        self._ident = ""

    async def ask(self, method: str, *arguments: Any) -> Any:
        """Call a method of `Numbers`. Raises NeverSent or StoreAway."""
        return await self._thread.run(partial(self._ask, method, arguments), self._patience_s)

    def _ask(self, method: str, arguments: tuple[Any, ...]) -> Any:
        connection = self._connection or self._connect()
        self._connection = None  # until the reply is here: a late one must not meet the next call
        try:
            answer = _call(connection, self._ident, method, arguments)
            self._connection = connection
        except (OSError, EOFError) as error:
            raise StoreAway(_away(error)) from error
        finally:
            if self._connection is None:
                connection.close()
        return answer

    def _connect(self) -> Connection:
        try:
            with self._dial() as once:
                self._ident, _ = _call(once, None, "create", ("numbers",))
            connection = self._dial()
            _call(connection, None, "accept_connection", (threading.current_thread().name,))
        except (OSError, EOFError, AuthenticationError) as error:
            raise NeverSent(_away(error)) from error
        return connection

    def _dial(self) -> Connection:
        """What multiprocessing.connection.Client does, with a limit on every wait: a stopped manager hangs nobody."""
        limit = struct.pack("ll", int(self._timeout_s), int(self._timeout_s % 1 * 1_000_000))
        with socket.socket(socket.AF_UNIX) as calling:
            calling.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            calling.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            calling.connect(self._address)
            connection = Connection(calling.detach())
        try:
            answer_challenge(connection, self._authkey)
            deliver_challenge(connection, self._authkey)
        except BaseException:
            connection.close()
            raise
        return connection

    async def aclose(self) -> None:
        """Close the connection; a call in flight ends first, in its time."""
        await self._thread.aclose(self._close, self._patience_s)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _call(connection: Connection, ident: str | None, method: str, arguments: tuple[Any, ...]) -> Any:
    """One call as multiprocessing's managers speak it."""
    connection.send((ident, method, arguments, {}))
    kind, answer = connection.recv()
    if kind != "#RETURN":
        raise RuntimeError(f"the manager failed in {method}: {answer}")
    return answer


def _away(error: BaseException) -> str:
    why = "timed out" if isinstance(error, BlockingIOError) else str(error) or type(error).__name__
    return f"the manager does not answer ({why})"


class ManagerStore:
    """Counters shared by every process that was given the manager's URL."""

    def __init__(self, url: str, limits: Limits, guarantees: Guarantees) -> None:
        parts = urlsplit(url)
        home = (parts.path, bytes.fromhex(parts.password or ""), limits.store_timeout_s)
        self.guarantees = guarantees
        self._limits = limits
        self._worker = secrets.token_hex(8)
        self._number = 0
        self._one_at_a_time = asyncio.Lock()  # the manager keeps this worker's last flush only: an earlier one is late
        self._flushes, self._reads = _Line(*home), _Line(*home)

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order, all in one call; sent again under its number if the reply is lost."""
        rows, limits = [tuple(change) for change in changes], astuple(self._limits)
        async with self._one_at_a_time:
            self._number += 1
            try:
                replies = await answered(
                    lambda: self._flushes.ask("apply", self._worker, self._number, limits, rows), self._limits
                )
            except StoreAway as away:
                return [outcome_of(away)] * len(changes)
        return [KINDS[kind](*words) for kind, *words in replies]

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment, on a connection that carries no flush."""
        return Reading(*await self._reads.ask("read", name))

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        names: list[str] = await self._reads.ask("names", after, limit)
        return names

    async def forget(self, name: str) -> None:
        """Remove a counter and its keys."""
        await self._reads.ask("forget", name)

    async def aclose(self) -> None:
        """Close both connections and let their threads end."""
        await self._flushes.aclose()
        await self._reads.aclose()


def _guarantees(shared: bool) -> Guarantees:
    note = "the numbers live in the manager's memory: they survive a worker, and end with the manager"
    alone = "this manager is for one process; quart-counter serve --mode manager starts one for all its workers"
    return Guarantees(
        scope="host" if shared else "process",
        atomic=True,
        durable="none",
        exactly_once=True,
        versioned=True,
        gapless=True,
        notes=(note,) if shared else (note, alone),
        server="multiprocessing manager",
    )


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[ManagerStore]:
    """Connect to the manager that `url` names; for `manager:` alone, start one that ends with this block.

    Raises ConfigurationError.
    """
    if url.removeprefix("manager:").strip("/") == "":
        with private_manager() as manager:
            async with _connected(manager.url, limits, _guarantees(shared=False)) as store:
                yield store
    else:
        async with _connected(url, limits, _guarantees(shared=True)) as store:
            yield store


@asynccontextmanager
async def _connected(url: str, limits: Limits, guarantees: Guarantees) -> AsyncIterator[ManagerStore]:
    try:
        store = ManagerStore(url, limits, guarantees)
    except ValueError as error:
        raise ConfigurationError("the manager's URL is wrong: use manager: alone, and one is started") from error
    async with aclosing(store):
        try:
            await store.read("tickets")
        except StoreAway as away:
            raise ConfigurationError(f"{away}. Use --url manager: and one is started") from away
        yield store
