"""The short way of the one hot route: increments are answered without Quart, by the same function and byte for byte.

Quart's routing, context and response cost more than twice what the counting does. Whatever is not a plain increment
with a small body of known length goes the long way, and so does everything in apps of your own.
"""

from __future__ import annotations

import asyncio
import re
from logging import Logger
from typing import Any, Final

from quart_counter.access.places import Places
from quart_counter.counters import Counters
from quart_counter.web import answers, api, front
from quart_counter.web.parse import RawHeaders
from quart_counter.web.scope import CREDENTIAL

HOT: Final = re.compile(rb"/counters/([^/]+)/increment")
SMALL: Final = 4096  # bytes of a body; {"by": 2147483648} has 18


class Shortcut:
    """ASGI middleware, the innermost: after limits and access, before Quart."""

    def __init__(
        self, app: Any, counters: Counters, places: Places | None = None, *, body_timeout_s: float, logger: Logger
    ) -> None:
        self._app, self._counters, self._places = app, counters, places
        self._body_timeout_s, self._logger = body_timeout_s, logger

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer an increment, or pass the request on."""
        hot = HOT.fullmatch(scope.get("raw_path") or b"") if scope["type"] == "http" else None
        if hot is None or scope["method"] != "POST" or scope.get("root_path"):
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        length = _length(scope["headers"])
        if length > SMALL:
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        answer = await self._answer(hot[1], scope, receive, length)
        if answer is not None:
            await front.send_answer(send, answer)

    async def _answer(self, segment: bytes, scope: Any, receive: Any, length: int) -> answers.Answer | None:
        try:
            if length:
                async with asyncio.timeout(self._body_timeout_s):
                    body = await _body(receive)
            else:
                body = await _body(receive)  # nothing that could be waited for
        except TimeoutError:
            return answers.too_slow(self._body_timeout_s)
        if body is None:
            return None
        try:
            credential = scope.get(CREDENTIAL)
            return await api.increment(self._counters, segment, scope["headers"], body, credential, self._places)
        except Exception:
            self._logger.exception("a bug in quart_counter")
            return answers.bug()


def _length(headers: RawHeaders) -> int:
    """Return how long the body will be; beyond all measure where nobody can know."""
    length = 0
    for word, value in headers:
        if word == b"content-length":
            length = int(value) if value.isdigit() and len(value) < 10 else SMALL + 1
        elif word == b"transfer-encoding":
            return SMALL + 1
    return length


async def _body(receive: Any) -> bytes | None:
    """Return the whole body; None if its client leaves in the middle of it."""
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return None if message["type"] == "http.disconnect" else body
