"""`--log json`: a line of JSON for every request, and for whatever goes wrong, on standard output.

    {"time": "2026-11-21T18:00:00.123Z", "level": "info", "message": "request", "request_id": "5d0c6e4b9a17f00d",
     "method": "POST", "path": "/counters/tickets/increment", "status": 200, "ms": 0.412, "worker": 4711,
     "client": "127.0.0.1", "id": "shop"}

The path is told as it came, not unquoted, and JSON escapes what is left: nobody forges a line. A request costs the loop
one tuple; a thread makes the lines and writes them, whole ones, so those of several workers never mix. If nobody reads
them they are dropped, and their number is told: a log that is stuck must not stop the counting.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import re
import secrets
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from quart_counter.web import answers
from quart_counter.web.front import send_answer
from quart_counter.web.parse import RawHeaders

SEEN: Final = "quart_counter.seen"  # in a scope: what the guards found out about the request
MOST_WAITING: Final = 10_000  # lines
EVERY_S: Final = 0.1
AT_ONCE: Final = 4096  # bytes; up to so many a pipe takes whole (POSIX's PIPE_BUF, on Linux)
LONGEST_PATH: Final = 512  # characters
LONGEST_TRACE: Final = 2500
SANE_ID: Final = re.compile(rb"[A-Za-z0-9._~-]{1,64}", re.ASCII)

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

Entry = tuple[float, str, str, Mapping[str, Any]]  # when, level, message, the rest


def line(when: float, level: str, message: str, more: Mapping[str, Any]) -> str:
    """Return one line: ASCII without control characters, its line end included."""
    moment = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = json.dumps({"time": moment, "level": level, "message": message, **more})
    return text.replace("\x7f", "\\u007f") + "\n"


class Lines:
    """Writes entries to a file descriptor, from a thread of its own that starts with the first of them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waiting: deque[Entry] = deque()
        self._news = threading.Event()
        self._dropped = 0
        self._closing = False
        self._hidden: list[str] = []
        self._thread: threading.Thread | None = None

    def hide(self, words: Iterable[str]) -> None:
        """Never write these words, wherever they turn up."""
        self._hidden += [word for word in words if word]

    def add(self, entry: Entry) -> None:
        """Write it soon; never waits."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append(entry)
        if not self._news.is_set():
            self._news.set()
            if self._thread is None:
                self._start()

    def close(self) -> None:
        """Write what is left, if somebody reads it."""
        self._closing = True
        self._news.set()
        if self._thread is not None:
            self._thread.join(timeout=1.0)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _write(self) -> None:
        while not (self._closing and not self._waiting):
            self._news.wait()
            if not self._closing:
                time.sleep(EVERY_S)
            self._news.clear()
            with suppress(OSError):  # nobody reads any more, which is no reason to stop
                for block in _blocks(self._taken()):
                    _write_all(self._fd, block)

    def _taken(self) -> Iterator[bytes]:
        while self._waiting:
            yield self._text(*self._waiting.popleft())
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            yield self._text(time.time(), "warning", "lines of this log were dropped", {"dropped": dropped})

    def _text(self, when: float, level: str, message: str, more: Mapping[str, Any]) -> bytes:
        more = {word: self._without(told) if isinstance(told, str) else told for word, told in more.items()}
        return line(when, level, self._without(message), more).encode()

    def _without(self, text: str) -> str:
        """Hide the words before JSON escapes them, and nowhere else: a short one may be in its every line."""
        for word in self._hidden:
            text = text.replace(word, "***")
        return text


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines to blocks that are written in one go."""
    block = b""
    for one in lines:
        if block and len(block) + len(one) > AT_ONCE:
            yield block
            block = b""
        block += one
    if block:
        yield block


def _write_all(fd: int, block: bytes) -> None:
    while block:
        block = block[os.write(fd, block) :]


@cache
def standard_output() -> Lines:
    """The one log of this process."""
    return Lines(1)


class Log:
    """ASGI middleware, the outermost: a line for each request, and X-Request-Id on its answer."""

    def __init__(self, app: Any, lines: Lines) -> None:
        self._app, self._lines, self._worker = app, lines, os.getpid()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on, and answer for a bug that nobody else has answered for."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        began, since = time.time(), time.perf_counter()
        request_id = _id_of(scope["headers"])
        seen = {"client": (scope.get("client") or ("",))[0]}
        status: int | None = None  # stays so when the client hangs up first

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        _request_id.set(request_id)
        try:
            await self._app({**scope, SEEN: seen}, receive, noted)
        except Exception:
            logging.getLogger(__name__).exception("a bug in quart_counter")
            if status is None:
                await send_answer(noted, answers.bug())
        finally:
            about = {
                "request_id": request_id,
                "method": scope["method"][:32],
                "path": (scope.get("raw_path") or b"").decode("latin-1")[:LONGEST_PATH],
                "status": status,
                "ms": round(1000 * (time.perf_counter() - since), 3),
                "worker": self._worker,
            }
            self._lines.add((began, "info", "request", about | seen))


def _id_of(headers: RawHeaders) -> str:
    """Return the client's or a proxy's id for the request if it is a sane one, else a new one."""
    for word, value in headers:
        if word == b"x-request-id" and SANE_ID.fullmatch(value):
            return value.decode()
    return secrets.token_hex(8)


def note(scope: Any, **found: str) -> None:
    """Let the line of this request tell what was found out about it, if there will be one."""
    seen = scope.get(SEEN)
    if seen is not None:
        seen.update(found)


class Handler(logging.Handler):
    """Makes lines of what is logged elsewhere, tracebacks included."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Add a line."""
        more: dict[str, Any] = {"logger": record.name, "worker": record.process}
        request_id = _request_id.get()
        if request_id:
            more["request_id"] = request_id
        if record.exc_info:
            more["traceback"] = "".join(traceback.format_exception(*record.exc_info))[-LONGEST_TRACE:]
        message = record.getMessage()[:LONGEST_TRACE]
        self._lines.add((record.created, record.levelname.lower(), message, more))


def take_over(hidden: Iterable[str]) -> None:
    """Send everything that this process logs to its one log, without the words to hide."""
    lines = standard_output()
    lines.hide(hidden)
    logging.getLogger().handlers = [Handler(lines)]
