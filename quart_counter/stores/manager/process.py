"""The manager's own process: what it serves, and how it is started, watched and ended.

It listens on a socket in a folder that only its owner can enter, and asks for a key that was made for it. It ends with
the process that started it, whatever ends that one: the pipe on its standard input closes.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.managers import BaseManager
from typing import Any, Final, NamedTuple

from quart_counter.errors import ConfigurationError
from quart_counter.model import Applied, Change, NotApplied, Outcome, Reading, Refused
from quart_counter.stores.base import Limits
from quart_counter.stores.ledger import post, wanted
from quart_counter.stores.shelf import Shelf, end_of_life, monotonic_ms

KINDS: Final = (Applied, Refused, NotApplied)  # outcomes travel as plain tuples that begin with their place in here
EXPOSED: Final = ("apply", "read", "names", "forget")


class Flush(NamedTuple):
    """A worker's last flush: a repeat of its number is answered from here."""

    number: int
    end_s: float
    outcomes: list[tuple[Any, ...]]


class Numbers:
    """What the manager serves. Each method is one whole step; plain tuples in, plain tuples out."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._readings: dict[str, Reading] = {}
        self._shelves: dict[str, Shelf] = {}
        self._names: list[str] = []
        self._last: dict[str, Flush] = {}

    def apply(
        self, worker: str, number: int, limits: tuple[Any, ...], rows: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """Carry out the changes in order, once for each number of a worker however often it is sent."""
        with self._one_at_a_time:
            last = self._last.get(worker)
            if last is not None and number <= last.number:
                return last.outcomes if number == last.number else []  # a late one has no effect; nobody waits for it
            rules = Limits(*limits)
            outcomes = [(KINDS.index(type(one)), *one) for one in self._post([Change(*row) for row in rows], rules)]
            self._remember(worker, Flush(number, time.monotonic() + 2 * rules.deadline_s, outcomes))
            return outcomes

    def _post(self, changes: Sequence[Change], rules: Limits) -> Sequence[Outcome]:
        now_ms = monotonic_ms()
        pages = {}
        for name, keys in wanted(changes).items():
            shelf = self._shelves.setdefault(name, Shelf()) if keys else Shelf()
            shelf.forget_expired(now_ms)
            pages[name] = shelf.page(self._readings.get(name, Reading()), keys)
        outcomes, entries = post(changes, pages, rules.max_keys)
        for name, entry in entries.items():
            if entry.changed and name not in self._readings:
                insort(self._names, name)
            if entry.changed:
                self._readings[name] = entry.reading
            if entry.records:
                self._shelves[name].keep(end_of_life(now_ms, rules.key_life_s), entry.records)
        return outcomes

    def _remember(self, worker: str, flush: Flush) -> None:
        if worker not in self._last:
            now_s = time.monotonic()
            self._last = {one: last for one, last in self._last.items() if last.end_s > now_s}
        self._last[worker] = flush

    def read(self, name: str) -> tuple[int, ...]:
        """Return value and version of this moment."""
        return tuple(self._readings.get(name, Reading()))

    def names(self, after: str, limit: int) -> list[str]:
        """Return at most `limit` names greater than `after`, in order."""
        with self._one_at_a_time:
            start = bisect_right(self._names, after)
            return self._names[start : start + limit]

    def forget(self, name: str) -> None:
        """Remove a counter and its keys."""
        with self._one_at_a_time:
            self._shelves.pop(name, None)
            if self._readings.pop(name, None) is not None:
                del self._names[bisect_left(self._names, name)]


class _Served(BaseManager):
    """The manager that serves one `Numbers`."""


def main() -> None:
    """Serve one `Numbers`."""
    numbers = Numbers()
    _Served.register("numbers", callable=lambda: numbers, exposed=EXPOSED)
    serve(_Served)


def serve(kind: type[BaseManager]) -> None:
    """Serve a manager of this kind, in a process that `started` started, until who did so is gone."""
    for one in (signal.SIGTERM, signal.SIGINT):  # a service manager sends them to all, and the workers drain first
        signal.signal(one, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    server = kind(order["address"], bytes.fromhex(order["authkey"])).get_server()
    threading.Thread(target=_leave_with_parent, args=(order["folder"],), daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    server.serve_forever()


def _leave_with_parent(folder: str) -> None:
    sys.stdin.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


@dataclass(frozen=True)
class RunningManager:
    """A manager process: its `url`, which carries the key, so show it to nobody."""

    url: str
    process: subprocess.Popen[bytes]

    @contextmanager
    def watched(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call `tell` on the running loop if the process ends before this block does."""
        assert self.process.stdout is not None  # we asked for a PIPE
        loop, ear = asyncio.get_running_loop(), self.process.stdout.fileno()

        def gone() -> None:
            loop.remove_reader(ear)
            tell()

        loop.add_reader(ear, gone)  # it says nothing more: what can be read is the end
        try:
            yield
        finally:
            loop.remove_reader(ear)


def private_manager() -> AbstractContextManager[RunningManager]:
    """Start a manager (about 0.2 s) for one `with` block; give its `url` to every worker that is to share it."""
    return started("quart_counter.stores.manager")


@contextmanager
def started(module: str) -> Iterator[RunningManager]:
    """Run a module that calls `serve`. Its process ends with the block, and with us, whatever ends us."""
    folder, authkey = tempfile.mkdtemp(prefix="quart-counter-manager-"), secrets.token_hex(32)
    address = f"{folder}/socket"
    process = subprocess.Popen(
        (sys.executable, "-m", module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,  # out of reach of the terminal's Ctrl-C
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        order = {"address": address, "authkey": authkey, "folder": folder}
        process.stdin.write(json.dumps(order).encode() + b"\n")  # not in the arguments: ps shows those to everybody
        process.stdin.flush()
        if not process.stdout.readline():
            raise ConfigurationError(f"the manager did not start: its process ended with status {process.wait()}")
        yield RunningManager(f"manager://:{authkey}@{address}", process)
    finally:
        process.kill()  # it keeps nothing that could be saved
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)
