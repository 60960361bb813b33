"""`GET /events`: the page's number, live. Two browsers see the same number move.

    id: 8
    data: {"name": "visits", "value": 8, "version": 8}

One task a worker looks at the store, however many streams are open, and none while there is no stream. A stream never
tells a smaller version than before, also across reconnects (Last-Event-ID), with one exception that says so: an event
`again`, when the store has lost the counter and it began anew. An event `away` says that the store does not answer.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from quart_counter.counters import Counters
from quart_counter.errors import StoreAway
from quart_counter.model import Reading
from quart_counter.web import answers, parse
from quart_counter.web.front import send_answer
from quart_counter.web.scope import CREDENTIAL, raw_path
from quart_counter.web.streams import HEAD, Streams, event, last_event_id

PATH: Final = b"/events"
LOOK_EVERY_S: Final = 0.2
VERSION: Final = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)

InForce = Callable[[Any], bool]  # whether the credential of a request is one still

AWAY: Final = event("the store does not answer", kind="away")


class Live:
    """ASGI middleware, beside Quart and not in it: a stream is open for long, and costs less so."""

    def __init__(self, app: Any, counters: Counters, name: str, in_force: InForce, *, most: int) -> None:
        self._app, self._in_force, self._most = app, in_force, most
        self._feed = Feed(counters, name)
        self.streams = Streams(most)

    async def serving(self) -> AsyncGenerator[None, None]:
        """For `each_start`."""
        self.streams = Streams(self._most)
        yield
        self.end()
        await self._feed.rest()

    def end(self) -> None:
        """End every stream: the worker stops."""
        self.streams.end()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer /events, or pass the request on."""
        if scope["type"] != "http" or raw_path(scope) != PATH:
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        refusal = _refusal(scope)
        if refusal is not None:
            return await send_answer(send, refusal)
        may_stay = partial(self._in_force, scope.get(CREDENTIAL))
        async with self._feed.followed(self.streams) as feed:
            await self.streams.answer(receive, send, Reader(feed, _last_id(scope["headers"])).take, may_stay)


class Feed:
    """Looks at one counter while somebody follows it."""

    def __init__(self, counters: Counters, name: str) -> None:
        self._counters, self.name = counters, name
        self.latest: Reading | None = None  # None: the store is away
        self.begun = self.finished = 0  # looks; numbered, so that a newcomer can tell one that began after it came
        self._followers, self._newcomers = 0, False
        self._looking: asyncio.Task[None] | None = None
        self._resting = False

    @asynccontextmanager
    async def followed(self, streams: Streams) -> AsyncIterator[Feed]:
        """Look for as long as this block lasts, and tell `streams` when there is news."""
        self._followers += 1
        self._newcomers = True
        if self._looking is None or self._looking.done() or self._looking.cancelling():
            self._resting = False
            self._looking = asyncio.create_task(self._keep_looking(streams))
        try:
            yield self
        finally:
            self._followers -= 1
            if not self._followers and self._resting:  # a look that is cancelled would cost the store a connection
                self._looking.cancel()

    async def rest(self) -> None:
        """Wait for the last look."""
        if self._looking is not None:
            await asyncio.wait([self._looking])

    async def _keep_looking(self, streams: Streams) -> None:
        while self._followers:
            self.begun += 1
            newcomers, self._newcomers = self._newcomers, False
            before, self.latest = self.latest, await self._look()
            self.finished = self.begun
            if newcomers or self.latest != before:
                streams.ring()
            self._resting = True
            await asyncio.sleep(LOOK_EVERY_S)
            self._resting = False

    async def _look(self) -> Reading | None:
        try:
            return await self._counters.look(self.name)
        except StoreAway:
            return None


class Reader:
    """What one stream was told; `version` is the last that its browser has seen, in an earlier stream."""

    def __init__(self, feed: Feed, version: int | None) -> None:
        self._feed, self._version = feed, version
        self._first = feed.begun + 1  # an older look may be older than what the browser has seen
        self._away = False

    def take(self) -> bytes:
        """Return what is new to this stream."""
        if self._feed.finished < self._first:
            return b""
        was_away, self._away = self._away, self._feed.latest is None
        if self._feed.latest is None:
            return b"" if was_away else AWAY
        seen, self._version = self._version, self._feed.latest.version
        if seen == self._version and not was_away:
            return b""
        again = seen is not None and self._version < seen
        return self._told(self._feed.latest, "again" if again else "")

    def _told(self, reading: Reading, kind: str) -> bytes:
        data = {"name": self._feed.name, "value": reading.value, "version": reading.version}
        return event(json.dumps(data), kind=kind, id=str(reading.version))


def _last_id(headers: parse.RawHeaders) -> int | None:
    told = last_event_id(headers)
    return int(told) if VERSION.fullmatch(told) else None


def _refusal(scope: Any) -> answers.Answer | None:
    method = scope["method"]
    if method == "HEAD":
        return answers.Answer(200, [(word.decode(), value.decode()) for word, value in HEAD], b"")
    if method != "GET":
        allow = (("allow", "GET, HEAD"),)
        return answers.problem(405, f"{method} is not for this path; use GET.", headers=allow)
    try:
        parse.refuse_foreign(scope["headers"])  # it would take a place
    except answers.Problem as foreign:
        return foreign.answer
    return None
