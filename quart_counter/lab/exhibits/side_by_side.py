"""Ways of counting side by side in one server, each opened at start, for the demo and for whoever races them:

    curl -X POST http://127.0.0.1:8000/demo/unguarded/5ms/counters/tickets/increment

The path says how long the gap is between reading and writing. Every answer names its worker, in X-Worker.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final

from quart_counter.counters import Counters
from quart_counter.lab import exhibits
from quart_counter.lab.exhibits.gate import gap_s
from quart_counter.lab.witness import WORKER
from quart_counter.settings.modes import MODES
from quart_counter.stores import Limits, Store, open_store
from quart_counter.web import api
from quart_counter.web.front import send_answer
from quart_counter.web.parse import MAX_BODY
from quart_counter.web.scope import raw_path

ADDRESS: Final = re.compile(rb"/demo/([a-z-]+)/([0-9]{1,2})ms(/counters/.*)")
LONGEST_GAP_MS: Final = 50


def base(mode: str, gap_ms: int) -> str:
    """Return the path below which `mode` counts with this gap."""
    return f"/demo/{mode}/{gap_ms}ms"


class SideBySide:
    """ASGI middleware: answers below /demo/<mode>/<gap>ms/counters, for the modes given with their stores' URLs.
    `sign`: name the worker in X-Worker, where nobody else does."""

    def __init__(self, app: Any, urls: Mapping[str, str], *, sign: bool) -> None:
        self._app, self._urls = app, urls
        self._counters: dict[bytes, Counters] = {}
        self._signature = ((WORKER, str(os.getpid())),) if sign else ()

    async def serving(self) -> AsyncGenerator[None, None]:
        """For `each_start`: open them all."""
        limits = Limits()
        async with AsyncExitStack() as stack:
            for mode, url in self._urls.items():
                store = await stack.enter_async_context(_open(mode, url, limits))
                shared = not MODES[mode].in_worker and not MODES[mode].exhibit
                self._counters[mode.encode()] = Counters(store, deadline_s=limits.deadline_s, combine=shared)
            yield
            for counters in self._counters.values():
                await counters.drain()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Count, or pass the request on."""
        found = ADDRESS.fullmatch(raw_path(scope)) if scope["type"] == "http" else None
        counters = self._counters.get(found[1]) if found else None
        if found is None or counters is None or int(found[2]) > LONGEST_GAP_MS:
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        gap_s.set(int(found[2]) / 1000)
        body = await _body(receive)
        if body is not None:
            request = (scope["method"], found[3], scope["query_string"], scope["headers"], body)
            answer = await api.answer(counters, *request)
            await send_answer(send, answer._replace(headers=(*answer.headers, *self._signature)))


def _open(mode: str, url: str, limits: Limits) -> AbstractAsyncContextManager[Store]:
    if MODES[mode].exhibit or MODES[mode].in_worker:
        return exhibits.open_store(mode, url, limits)
    return open_store(url, limits)


async def _body(receive: Any) -> bytes | None:
    """Return the body, or as much of it as tells that it is too long; None if its client leaves."""
    body = b""
    while len(body) <= MAX_BODY:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body
