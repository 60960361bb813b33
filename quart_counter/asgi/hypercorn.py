"""Hypercorn, the default: one process of it, on a socket that is listening already."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from hypercorn import protocol
from hypercorn.asyncio import run, serve
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError

from quart_counter.asgi.connection import Connection, Http1
from quart_counter.errors import ConfigurationError


async def run_until(
    stop: Callable[[], Awaitable[None]], app: Any, server: Mapping[str, Any], listen_fd: int, patience_s: float
) -> None:
    """Serve `app` until `stop` returns, then let requests in flight have `patience_s`.

    Raises ConfigurationError with what the app said when it could not start.
    """
    config = Config.from_mapping(dict(server), bind=[f"fd://{listen_fd}"])
    config.graceful_timeout = patience_s
    if logging.getLogger().handlers and config.errorlog == "-":
        config.errorlog = logging.getLogger("hypercorn.error")  # to where everything goes
    run.TCPServer = Connection  # type: ignore[attr-defined, assignment]
    protocol.H11Protocol = Http1  # type: ignore[attr-defined, assignment]
    try:
        await serve(app, config, shutdown_trigger=stop)
    except LifespanFailureError as error:  # its text: Lifespan failure in startup. '...'
        raise ConfigurationError(str(error).removeprefix("Lifespan failure in startup. '").removesuffix("'")) from error
