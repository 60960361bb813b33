"""One worker process: a single-process ASGI server on the socket that `service.Service` listens on.

The parent writes one line of JSON to standard input, the order, and keeps the pipe open: when it closes, the parent is
gone, and so the worker goes too. The worker answers on a pipe of its own with one line, ready or failed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import IO, Any, Final

from quart import Quart

from quart_counter.app import create_app
from quart_counter.asgi.loops import loop_factory, say_in_short
from quart_counter.errors import ConfigurationError
from quart_counter.settings import Settings
from quart_counter.settings.secret import secrets_of
from quart_counter.web import front, log

FAREWELL_S: Final = 0.25  # after SIGTERM answers say "connection: close" for so long, before the worker stops listening
NEWCOMERS_S: Final = 0.25  # after that, for those who have just connected: their request is on its way
KNOWN_S: Final = 0.05  # in a hurry: for the server to know all it has accepted; it waits for no others, and cuts them
HURRY_S: Final = 0.5  # what requests in flight get after Ctrl-C
AFTER_S: Final = 0.2  # for the answers to those that are cut off then
LAST_RESORT_S: Final = 15.0  # after all that, for a store that does not let go


async def work(order: Mapping[str, Any], report: IO[str]) -> None:
    """Serve until told to stop. Raises ConfigurationError if it cannot start."""
    settings = Settings(**order["settings"])
    if settings.log == "json":
        log.take_over(secrets_of(settings))
    say_in_short(asyncio.get_running_loop())
    stopping = _Stopping(order["server"]["graceful_timeout"])
    app = create_app(settings)
    app.extensions["quart_counter_tally"].share(order["tally_fd"], order["place"])
    app.while_serving(lambda: _reporting(app, report))
    app.logger.filters.insert(0, _is_news)  # the app would put it in a sentence
    stopping.first = app.extensions["quart_counter_leaving"]
    run_until = _server(settings.server)
    patience_s = order["server"]["graceful_timeout"] + AFTER_S  # we are first
    await run_until(stopping.wait, stopping.watch(app), order["server"], order["listen_fd"], patience_s)


def _server(name: str) -> Callable[..., Awaitable[None]]:
    if name == "uvicorn":
        from quart_counter.asgi import uvicorn

        return uvicorn.run_until
    from quart_counter.asgi import hypercorn

    return hypercorn.run_until


def _is_news(record: logging.LogRecord) -> bool:
    """Quart logs what ends the start; a wrong setting is told by the parent."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConfigurationError))


async def _reporting(app: Quart, report: Any) -> Any:
    """Runs after the store was opened, for `while_serving` runs in the order of registration."""
    _say(report, {"ready": os.getpid(), "guarantees": asdict(app.extensions["quart_counter"].guarantees)})
    yield


def _say(report: Any, line: Mapping[str, Any]) -> None:
    report.write(json.dumps(line) + "\n")
    report.flush()


class _Stopping:
    """How the worker ends: gracefully on SIGTERM or when the parent is gone, in a hurry on Ctrl-C."""

    def __init__(self, graceful_s: float) -> None:
        self._graceful_s = graceful_s
        self._told = asyncio.Event()
        self._hurry = False
        self._leaving = self._over = False
        self._in_flight: set[asyncio.Task[Any]] = set()
        self.first: Sequence[Callable[[], None]] = ()  # what ends at once: open event streams
        self._listening: list[asyncio.Server] = []
        loop = asyncio.get_running_loop()
        loop.create_server = partial(self._listen, loop.create_server)  # type: ignore[method-assign]
        loop.add_signal_handler(signal.SIGTERM, self._told.set)
        loop.add_signal_handler(signal.SIGINT, self._in_a_hurry)
        loop.add_reader(sys.stdin.fileno(), self._parent_gone)

    async def _listen(self, create_server: Callable[..., Awaitable[asyncio.Server]], *args: Any, **how: Any) -> Any:
        """Remember what listens: no ASGI server lets anybody close that before it stops as a whole."""
        self._listening.append(await create_server(*args, **how))
        return self._listening[-1]

    def _in_a_hurry(self) -> None:
        self._hurry = True
        if self._leaving:  # told to be graceful before
            self._give(HURRY_S)
        self._told.set()

    def _parent_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._told.set()

    async def wait(self) -> None:
        """Return when the server is to stop. Before that, clients in the middle of a row of requests are told to leave,
        for the server closes idle connections at once, and a request may just be on its way on one of them. So it may
        on one that is new: nobody new is accepted in the end, they go to the other workers."""
        await self._told.wait()
        self._leaving = True
        for end in self.first:
            end()
        self._give(HURRY_S if self._hurry else FAREWELL_S + NEWCOMERS_S + self._graceful_s)
        if not self._hurry:
            await asyncio.sleep(FAREWELL_S)
        for server in self._listening:
            server.close()
        await asyncio.sleep(KNOWN_S if self._hurry else NEWCOMERS_S)

    def _give(self, seconds: float) -> None:
        """Let requests in flight have so much time. From Python 3.12 on Hypercorn waits for them without end."""
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self._cut)
        loop.call_later(seconds + LAST_RESORT_S, os._exit, 1)

    def _cut(self) -> None:
        self._over = True
        for request in self._in_flight:
            request.cancel()

    def watch(self, app: Any) -> Any:
        """Return `app` with "connection: close" on every answer from the moment the worker is told to stop, and with an
        answer also to the requests that are cut off in the end."""

        async def leaving(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)  # type: ignore[no-any-return]
            started = False

            async def send_farewell(message: Any) -> None:
                nonlocal started
                if self._over and not started:
                    return  # the answer below is the one
                if message["type"] == "http.response.start":
                    started = True
                    if self._leaving:
                        message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
                await send(message)

            request: Any = asyncio.current_task()
            self._in_flight.add(request)
            try:
                await app(scope, receive, send_farewell)
            except asyncio.CancelledError:
                if not self._over or started:
                    raise
                await front.send_answer(send, front.cut_off(scope))
            finally:
                self._in_flight.discard(request)

        return leaving


def _take_all_files() -> None:
    """Have as many file descriptors as we may: each connection is one, and 1024 silent ones would shut out the rest."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS has a limit of its own below this one
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> int:
    """Run one worker as its parent ordered."""
    order = json.loads(sys.stdin.readline())
    report = os.fdopen(order["report_fd"], "w")
    _take_all_files()
    try:
        with asyncio.Runner(loop_factory=loop_factory(order["settings"]["loop"])) as runner:
            runner.run(work(order, report))
    except ConfigurationError as error:
        _say(report, {"failed": str(error)})
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
