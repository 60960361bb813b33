"""Open event streams (server-sent events): bounded in number and in life, and ended at once when the worker stops.

A server that waits for its connections would wait for an open stream without end (Hypercorn on Python 3.12 and later,
issue 308). So every stream ends by itself in time, the browser comes back by itself, and `end` ends them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from quart_counter.web.answers import problem
from quart_counter.web.front import send_answer
from quart_counter.web.parse import RawHeaders

RETRY_MS: Final = 1000  # how long a browser waits before it comes back
HEARTBEAT_S: Final = 15.0  # a write now and then, so that a client that vanished is noticed
LIFE_S: Final = 60.0  # also the longest that a server which tells us nothing has to wait for a stream
FULL_RETRY_S: Final = 15
ROUND_S: Final = 0.25  # how often it is asked who may stay
HEAD: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep the events until it has a page of them
)

Take = Callable[[], bytes]  # what one stream has not been told yet; nothing most of the time
MayStay = Callable[[], bool]  # whether its client may still be told


class Streams:
    """The streams of one worker: at most `most` of them. A stream that cannot keep up skips what is out of date: it
    asks for what is new only when the last of it was sent."""

    def __init__(self, most: int) -> None:
        self._most, self._over = most, False
        self._news: asyncio.Future[None] | None = None
        self._guests: dict[asyncio.Future[None], MayStay] = {}  # by what is done when one is gone
        self._round: asyncio.TimerHandle | None = None

    @property
    def open(self) -> int:
        """How many there are."""
        return len(self._guests)

    def ring(self) -> None:
        """Let every stream ask what is new."""
        news, self._news = self._news, None
        if news is not None:
            news.set_result(None)

    def end(self) -> None:
        """End every stream now, and begin none any more."""
        self._over = True
        self.ring()

    async def answer(self, receive: Any, send: Any, take: Take, may_stay: MayStay = lambda: True) -> None:
        """Answer a request with a stream of what `take` gives, for as long as its client `may_stay`; or with 503 if
        there are as many as there may be."""
        if self._over or self.open >= self._most:
            return await send_answer(send, _full(self._over))
        gone = asyncio.ensure_future(_disconnected(receive))
        self._guests[gone] = may_stay
        if self._round is None:
            self._go_round()
        try:
            await self._stream(send, take, may_stay, gone)
        finally:
            del self._guests[gone]
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    def _go_round(self) -> None:
        """Wake the streams if the client of one may not stay, every now and then while there are any."""
        if not all(may_stay() for may_stay in self._guests.values()):
            self.ring()
        self._round = asyncio.get_running_loop().call_later(ROUND_S, self._go_round) if self._guests else None

    async def _stream(self, send: Any, take: Take, may_stay: MayStay, gone: asyncio.Future[None]) -> None:
        clock = asyncio.get_running_loop().time
        until = clock() + LIFE_S
        await send({"type": "http.response.start", "status": 200, "headers": HEAD})
        told = b"retry: %d\n\n" % RETRY_MS
        while True:
            news = self._coming()  # before `take`, so that what comes after it is not missed
            stays = may_stay()  # asked before each word, so that nobody hears one too many
            told += take() if stays else b""
            if told:
                await send({"type": "http.response.body", "body": told, "more_body": True})
            left_s = until - clock()
            if self._over or not stays or gone.done() or left_s <= 0:
                break
            heard, _ = await asyncio.wait(
                (gone, news), timeout=min(HEARTBEAT_S, left_s), return_when=asyncio.FIRST_COMPLETED
            )
            told = b"" if heard else b":\n\n"  # a comment
        if not gone.done():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _coming(self) -> asyncio.Future[None]:
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        return self._news


def event(data: str, *, kind: str = "", id: str = "") -> bytes:
    """Write one event; `data` is one line."""
    lines = [f"event: {kind}\n" if kind else "", f"id: {id}\n" if id else "", f"data: {data}\n\n"]
    return "".join(lines).encode()


def last_event_id(headers: RawHeaders) -> str:
    """Return the id of the last event that a browser had before it came back; nothing if it is new."""
    return next((value.decode("latin-1") for word, value in headers if word == b"last-event-id"), "")


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _full(over: bool) -> Any:
    why = "The service stops" if over else "This worker has as many event streams as it may have"
    retry = (("retry-after", str(FULL_RETRY_S)),)
    return problem(503, f"{why}; try again in {FULL_RETRY_S} seconds, or read the counter.", headers=retry)
