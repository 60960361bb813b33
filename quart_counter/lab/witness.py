"""ASGI middleware for servers that the lab starts: every answer names its worker and the steps behind it."""

from __future__ import annotations

import os
from typing import Any, Final

from quart_counter.lab import steps

WORKER: Final = "x-worker"


class Witness:
    """Adds X-Worker (the process id) and X-Lab-Steps to every answer; servers that others run never do."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._worker = (WORKER.encode(), str(os.getpid()).encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on and sign its answer."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        record = steps.begin()

        async def send_signed(message: Any) -> None:
            if message["type"] == "http.response.start":
                told = (steps.HEADER.encode(), ", ".join(record).encode())
                message = {**message, "headers": [*message["headers"], self._worker, told]}
            await send(message)

        await self._app(scope, receive, send_signed)
