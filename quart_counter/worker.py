"""One worker process: a single-process Hypercorn on the socket that `server.Service` listens on.

The parent writes one line of JSON to standard input, the order, and keeps the pipe open: when it closes, the parent is
gone, and so the worker goes too. The worker answers on a pipe of its own with one line, ready or failed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from hypercorn.asyncio import run, serve
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError
from quart import Quart

from quart_counter.app import create_app
from quart_counter.errors import ConfigurationError
from quart_counter.settings import Settings
from quart_counter.web import front

FAREWELL_S: Final = 0.25  # after SIGTERM answers say "connection: close" for so long, before the worker stops listening
NEWCOMERS_S: Final = 0.25  # after that, for those who have just connected: their request is on its way
HURRY_S: Final = 0.5  # what requests in flight get after Ctrl-C
AFTER_S: Final = 0.2  # for the answers to those that are cut off then
LAST_RESORT_S: Final = 15.0  # after all that, for a store that does not let go


async def work(order: Mapping[str, Any]) -> int:
    """Serve until told to stop; return the exit status."""
    report = os.fdopen(order["report_fd"], "w")
    config = Config.from_mapping(order["server"], bind=[f"fd://{order['listen_fd']}"])
    run.TCPServer = _Connection  # type: ignore[attr-defined]
    stopping = _Stopping(config, order["listen_fd"])
    try:
        app = create_app(Settings(**order["settings"]))
        app.extensions["quart_counter_tally"].share(order["tally_fd"], order["place"])
        app.while_serving(lambda: _reporting(app, report))
        app.logger.addFilter(_is_news)
        stopping.first = app.extensions["quart_counter_leaving"]
        await serve(stopping.watch(app), config, shutdown_trigger=stopping.wait)
    except (ConfigurationError, LifespanFailureError) as error:
        _say(report, {"failed": _sentence(error)})
        return 2
    return 0


def _is_news(record: logging.LogRecord) -> bool:
    """Quart logs what ends the start, with a traceback; a wrong setting is told by the parent, in a sentence."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConfigurationError))


def _sentence(error: Exception) -> str:
    """Hypercorn wraps what the app said at start-up in a sentence of its own: Lifespan failure in startup. '...'"""
    return str(error).removeprefix("Lifespan failure in startup. '").removesuffix("'")


async def _reporting(app: Quart, report: Any) -> Any:
    """Runs after the store was opened, for `while_serving` runs in the order of registration."""
    _say(report, {"ready": os.getpid(), "guarantees": asdict(app.extensions["quart_counter"].guarantees)})
    yield


def _say(report: Any, line: Mapping[str, Any]) -> None:
    report.write(json.dumps(line) + "\n")
    report.flush()


class _Connection(TCPServer):
    """Hypercorn keeps a connection that its client has closed for another keep_alive_timeout, and its file descriptor
    with it: a thousand clients that connect anew for each request would use up all there are. This one lets go."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class _Stopping:
    """How the worker ends: gracefully on SIGTERM or when the parent is gone, in a hurry on Ctrl-C."""

    def __init__(self, config: Config, listen_fd: int) -> None:
        self._config, self._listen_fd = config, listen_fd
        self._told = asyncio.Event()
        self._hurry = False
        self._leaving = self._over = False
        self._in_flight: set[asyncio.Task[Any]] = set()
        self.first: Sequence[Callable[[], None]] = ()  # what ends at once: open event streams
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._told.set)
        loop.add_signal_handler(signal.SIGINT, self._in_a_hurry)
        loop.add_reader(sys.stdin.fileno(), self._parent_gone)

    def _in_a_hurry(self) -> None:
        self._hurry = True
        if self._leaving:  # told to be graceful before
            self._give(HURRY_S)
        self._told.set()

    def _parent_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._told.set()

    async def wait(self) -> None:
        """Return when Hypercorn is to stop. Before that, clients in the middle of a row of requests are told to leave,
        for Hypercorn closes idle connections at once, and a request may just be on its way on one of them. So it may on
        one that is new: nobody new is accepted in the end, they go to the other workers."""
        await self._told.wait()
        self._leaving = True
        for end in self.first:
            end()
        self._give(HURRY_S if self._hurry else FAREWELL_S + NEWCOMERS_S + self._config.graceful_timeout)
        self._config.graceful_timeout += AFTER_S  # we are first
        if not self._hurry:
            await asyncio.sleep(FAREWELL_S)
            asyncio.get_running_loop().remove_reader(self._listen_fd)
            await asyncio.sleep(NEWCOMERS_S)

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
                    if self._leaving and scope["http_version"] < "2":
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


def main() -> int:
    """Run one worker as its parent ordered."""
    order = json.loads(sys.stdin.readline())
    return asyncio.run(work(order))


if __name__ == "__main__":
    sys.exit(main())
