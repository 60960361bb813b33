"""`Service`: one listening socket, N workers on it, each a single-process Hypercorn; replaces the one that dies.

Hypercorn's own `-w N` ends the whole service when one worker is killed, with exit status 0, and drops requests in
flight at SIGTERM; so the socket and the processes are ours, and the HTTP is Hypercorn's.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from quart_counter.errors import ConfigurationError
from quart_counter.serving.listening import listen, turn_away, url_of
from quart_counter.settings import Settings
from quart_counter.web import tally

# The server settings of record; hypercorn.toml says the same, with reasons.
SERVER: Final[Mapping[str, Any]] = {
    "alpn_protocols": ["http/1.1"],
    "backlog": 2048,
    "graceful_timeout": 10.0,
    "h11_max_incomplete_size": 32 * 1024,
    "include_server_header": False,
    "keep_alive_max_requests": 1_000_000,
    "keep_alive_timeout": 75.0,
    "loglevel": "WARNING",
    "ssl_handshake_timeout": 8.0,
    "worker_class": "asyncio",
}
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
START_TIMEOUT_S: Final = 60.0
LAST_ORDERS_S: Final = 2.0  # on top of the graceful timeout, before a worker that does not end is killed
HURRY_S: Final = 1.0  # the same after Ctrl-C, in all


@dataclass(eq=False)
class Worker:
    """A worker process; `hello` is the line it said when it was ready (or failed), None while it is starting."""

    process: asyncio.subprocess.Process
    report: asyncio.StreamReader
    hello: Mapping[str, Any] | None = None

    async def greeting(self) -> Mapping[str, Any]:
        """Wait until the worker is ready or has failed."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await self.report.readline()
        except TimeoutError:
            self.process.kill()
            line = b""
        self.hello = json.loads(line) if line else {"failed": "a worker died while it was starting"}
        return self.hello


class Service:
    """The running service: `async with Service(settings) as service`, then it answers at `service.url`.

    Raises ConfigurationError when it cannot listen or its first workers cannot start. `ended` is done when the service
    cannot go on; `say` is told, a sentence at a time, what happens to the workers.
    """

    def __init__(
        self,
        settings: Settings,
        server: Mapping[str, Any] = SERVER,
        say: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._settings, self._server, self._say = settings, server, say
        self._workers: set[Worker] = set()
        self._stopping = asyncio.Event()
        self.guarantees: Mapping[str, Any] = {}

    async def __aenter__(self) -> Self:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._socket = listen(self._settings, self._server["backlog"])
        if not self._settings.secret_key:  # one for all workers: a cookie signed by one is read by another
            self._settings = replace(self._settings, secret_key=secrets.token_hex(32))
        self.url = url_of(self._socket, tls="certfile" in self._server)  # where it listens
        self._tally = tally.shared_memory(rows=self._settings.workers)
        self._keepers = [asyncio.create_task(self._keep(place)) for place in range(self._settings.workers)]
        for keeper in self._keepers:
            keeper.add_done_callback(self._kept)
        try:
            await self._all_ready()
        except BaseException:
            await self.stop(signal.SIGINT)
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop(signal.SIGTERM)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are ready."""
        return sorted(worker.process.pid for worker in self._workers if worker.hello and "ready" in worker.hello)

    async def stop(self, how: signal.Signals) -> None:
        """Pass the signal on and return when every worker is gone; one that does not obey is killed in the end.

        Called again while it waits, with the signal of Ctrl-C, it is a matter of one second.
        """
        if not self._stopping.is_set():
            self._stopping.set()
            turn_away(self._socket)
            self._socket.close()  # the workers have it still, and close it when they have served its queue
            self._tally.close()
        for worker in self._workers:  # one that is not ready has nobody to answer, and may not know the signals yet
            _signal(worker, how if worker.hello else signal.SIGKILL)
        patience_s = HURRY_S if how is signal.SIGINT else self._server["graceful_timeout"] + LAST_ORDERS_S
        _, late = await asyncio.wait(self._keepers, timeout=patience_s)
        if late:
            for worker in self._workers:
                _signal(worker, signal.SIGKILL)
            await asyncio.wait(self._keepers)

    async def _all_ready(self) -> None:
        while len(self.pids) < self._settings.workers:
            if self.ended.done():
                raise ConfigurationError(self.ended.result())
            await asyncio.sleep(0.005)

    async def _keep(self, place: int) -> None:
        """Keep one place filled: start a worker, wait for its end, start the next."""
        pause_s = FIRST_PAUSE_S
        was_up = False
        while not self._stopping.is_set():
            try:
                worker = await _start(self._settings, self._server, self._socket, self._tally.fileno(), place)
            except OSError as error:  # no process, memory or file descriptor is left
                self._say(f"cannot start a worker ({error})")
                if not was_up:
                    return self._end(f"cannot start a worker ({error})")
                await self._pause(LONGEST_PAUSE_S)
                continue
            self._workers.add(worker)
            if self._stopping.is_set():
                _signal(worker, signal.SIGKILL)
            hello = await worker.greeting()
            if "ready" in hello:
                self.guarantees, was_up, pause_s = hello["guarantees"], True, FIRST_PAUSE_S
            status = await worker.process.wait()
            self._workers.discard(worker)
            if self._stopping.is_set() or not self._goes_on(worker, status, was_up):
                return
            if "failed" in hello:
                await self._pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _kept(self, keeper: asyncio.Task[None]) -> None:
        """A bug in keeping a place must end the service: without this it would listen on with nobody to answer."""
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._end(f"a bug in keeping the workers: {error!r}")

    async def _pause(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()

    def _goes_on(self, worker: Worker, status: int, was_up: bool) -> bool:
        """Say what happened to a worker that ended, and whether it is to be replaced."""
        hello = worker.hello or {}
        if "failed" in hello and not was_up:
            self._end(hello["failed"])
            return False
        if self._settings.in_worker:
            self._end(
                f"worker {worker.process.pid} {_death(status)}, and the numbers of mode {self._settings.mode} "
                "died with it: not starting another that would begin at 1 again"
            )
            return False
        self._say(f"worker {worker.process.pid} {_death(status)}: {hello.get('failed', 'replacing it')}")
        return True

    def _end(self, why: str) -> None:
        if not self.ended.done():
            self.ended.set_result(why)


def _signal(worker: Worker, how: signal.Signals) -> None:
    # Not process.send_signal: that polls, and takes a child that has just died away from asyncio's watcher.
    if worker.process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(worker.process.pid, how)


def _death(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):  # most of the real-time signals have no name
        return f"was killed by {signal.Signals(-status).name}"
    return f"was killed by signal {-status}"


async def _start(
    settings: Settings, server: Mapping[str, Any], listening: socket.socket, tally_fd: int, place: int
) -> Worker:
    read_fd, write_fd = os.pipe()
    order = {
        "settings": asdict(settings),
        "server": dict(server),
        "listen_fd": listening.fileno(),
        "tally_fd": tally_fd,
        "place": place,
        "report_fd": write_fd,
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "quart_counter.serving.worker"),
            stdin=asyncio.subprocess.PIPE,  # stays open: its end tells the worker that we are gone
            pass_fds=(listening.fileno(), tally_fd, write_fd),
            process_group=0,  # out of reach of the terminal's Ctrl-C, which we pass on ourselves
        )
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    report = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(report)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(read_fd, "rb"))
    assert process.stdin is not None
    process.stdin.write(json.dumps(order).encode() + b"\n")  # not in the arguments: ps shows those to everybody
    return Worker(process, report)
