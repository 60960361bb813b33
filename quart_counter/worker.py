"""One worker process: a single-process Hypercorn on the socket that `server.Service` listens on.

The parent writes one line of JSON to standard input, the order, and keeps the pipe open: when it closes, the parent is
gone, and so the worker goes too. The worker answers on a pipe of its own with one line, ready or failed.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError
from quart import Quart

from quart_counter.app import create_app
from quart_counter.errors import ConfigurationError
from quart_counter.settings import Settings

FAREWELL_S: Final = 0.25  # after SIGTERM answers say "connection: close" for so long, before the worker stops listening
HURRY_S: Final = 0.7  # what requests in flight get after Ctrl-C


async def work(order: Mapping[str, Any]) -> int:
    """Serve until told to stop; return the exit status."""
    report = os.fdopen(order["report_fd"], "w")
    config = Config.from_mapping(order["server"], bind=[f"fd://{order['listen_fd']}"])
    stopping = _Stopping(config)
    try:
        app = create_app(Settings(**order["settings"]))
        app.extensions["quart_counter_tally"].share(order["tally_fd"], order["place"])
        app.while_serving(lambda: _reporting(app, report))
        await serve(stopping.watch(app), config, shutdown_trigger=stopping.wait)
    except (ConfigurationError, LifespanFailureError) as error:
        _say(report, {"failed": _sentence(error)})
        return 2
    return 0


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


class _Stopping:
    """How the worker ends: gracefully on SIGTERM or when the parent is gone, in a hurry on Ctrl-C."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._told = asyncio.Event()
        self._hurry = False
        self._leaving = False
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._told.set)
        loop.add_signal_handler(signal.SIGINT, self._in_a_hurry)
        loop.add_reader(sys.stdin.fileno(), self._parent_gone)

    def _in_a_hurry(self) -> None:
        self._hurry = True
        self._config.graceful_timeout = min(self._config.graceful_timeout, HURRY_S)
        self._told.set()

    def _parent_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._told.set()

    async def wait(self) -> None:
        """Return when Hypercorn is to stop. Before that, clients in the middle of a row of requests are told to leave,
        for Hypercorn closes idle connections at once, and a request may just be on its way on one of them."""
        await self._told.wait()
        self._leaving = True
        if not self._hurry:
            await asyncio.sleep(FAREWELL_S)

    def watch(self, app: Any) -> Any:
        """Return `app` with "connection: close" on every answer from the moment the worker is told to stop."""

        async def leaving(scope: Any, receive: Any, send: Any) -> None:
            async def send_farewell(message: Any) -> None:
                if self._leaving and message["type"] == "http.response.start":
                    message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
                await send(message)

            await app(scope, receive, send_farewell if scope["type"] == "http" else send)

        return leaving


def main() -> int:
    """Run one worker as its parent ordered."""
    order = json.loads(sys.stdin.readline())
    return asyncio.run(work(order))


if __name__ == "__main__":
    sys.exit(main())
