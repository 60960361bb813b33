"""Uvicorn, for whom requests a second matter most: one process of it, on a socket that is listening already."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from quart_counter.errors import ConfigurationError
from quart_counter.extras import install

try:
    import uvicorn

    from quart_counter.asgi.uvicorn_connection import Connection
except ImportError as missing:
    raise ConfigurationError(f"server uvicorn needs the package uvicorn: run {install('uvicorn')}") from missing


async def run_until(
    stop: Callable[[], Awaitable[None]], app: Any, server: Mapping[str, Any], listen_fd: int, patience_s: float
) -> None:
    """Serve `app` until `stop` returns, then let requests in flight have `patience_s`.

    Raises ConfigurationError with what the app said when it could not start.
    """
    start = _Start(app)
    config = uvicorn.Config(
        start,
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        log_level=logging.ERROR,  # a warning for every broken request would let anybody fill the log
        proxy_headers=False,
        server_header=server["include_server_header"],
        backlog=server["backlog"],
        timeout_keep_alive=math.ceil(server["keep_alive_timeout"]),
        timeout_graceful_shutdown=math.ceil(patience_s),
        h11_max_incomplete_event_size=server["h11_max_incomplete_size"],
    )
    running = _Server(config)
    logging.getLogger("uvicorn.error").addFilter(lambda record: running.started)  # a failed start is told below
    stopping = asyncio.create_task(_stop_when(stop, running))
    try:
        await running.serve(sockets=[socket.socket(fileno=listen_fd)])
    except SystemExit:
        raise ConfigurationError(start.failure or "the app could not start") from None
    finally:
        stopping.cancel()


async def _stop_when(stop: Callable[[], Awaitable[None]], running: uvicorn.Server) -> None:
    await stop()
    running.should_exit = True


class _Server(uvicorn.Server):
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave signals to the worker."""
        return nullcontext()


class _Start:
    """ASGI middleware that hears why the app cannot start: Uvicorn only logs it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.failure = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]

        async def heard(message: Any) -> None:
            if message["type"] == "lifespan.startup.failed":
                self.failure = message.get("message", "")
            await send(message)

        await self._app(scope, receive, heard)
