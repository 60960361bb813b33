"""What an increment costs: one worker under a few dozen connections, as fast as a small raw client can ask.

A rate is only told if the answers are right. Client and server share this machine's cores, so only ratios between rows
of one run mean anything elsewhere; for a server's own limit use wrk.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from quart_counter.lab.checker import check
from quart_counter.lab.history import Operation, percentile_ms
from quart_counter.lab.race.load import NoAnswer, Target

CONNECTIONS: Final = 32
WARM_UP: Final = 2  # requests on each connection before the clock starts
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_COOKIE: Final = re.compile(rb"\r\nset-cookie: *([^;\r]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Price:
    """Increments per second, and how many milliseconds the slowest hundredth took at least."""

    per_s: float
    p99_ms: float | None

    def document(self, bare: Price | None) -> dict[str, Any]:
        """Return it as JSON, beside the price of `bare` in the same run."""
        ratio = round(self.per_s / bare.per_s, 2) if bare is not None else None
        return {"per_s": round(self.per_s), "p99_ms": self.p99_ms, "to_bare": ratio}


async def price_of(url: str, target: Target, requests: int) -> Price | None:
    """Ask `requests` times and return the price; None if the answers are wrong. Raises NoAnswer."""
    try:
        lines = [await _Line.to(url) for _ in range(CONNECTIONS)]
        try:
            return await _priced(lines, target, requests)
        finally:
            for line in lines:
                line.close()
    except (OSError, EOFError, ValueError) as error:
        raise NoAnswer(f"{url} broke off ({str(error) or type(error).__name__})") from error


async def _priced(lines: Sequence[_Line], target: Target, requests: int) -> Price | None:
    cookie = (await lines[0].ask("POST", target.reset, b""))[0] if target.reset else b""
    warm = await _volley(lines, target, cookie, WARM_UP)
    start = time.perf_counter()
    timed = await _volley(lines, target, cookie, max(1, requests // CONNECTIONS))
    seconds = time.perf_counter() - start
    if check([*warm, *timed]).verdict != "valid":
        return None
    return Price(len(timed) / seconds, percentile_ms(timed, 0.99))


async def _volley(lines: Sequence[_Line], target: Target, cookie: bytes, share: int) -> list[Operation]:
    rows = await asyncio.gather(*(_row(line, i, target, cookie, share) for i, line in enumerate(lines)))
    return [operation for row in rows for operation in row]


async def _row(line: _Line, process: int, target: Target, cookie: bytes, share: int) -> list[Operation]:
    answers = []
    for _ in range(share):
        call = time.monotonic_ns()
        _, body = await line.ask("POST", target.increment, cookie)
        answers.append((call, time.monotonic_ns(), body))
    return [_operation(process, target.name, *answer) for answer in answers]


def _operation(process: int, name: str, call: int, ret: int, body: bytes) -> Operation:
    told = json.loads(body)
    value, version = told.get("value"), told.get("version")
    outcome = "info" if value is None else "ok"
    return Operation(process, "add", name, 1, None, None, call, ret, outcome, False, value, version)


class _Line:
    """A connection that is kept open, as thin as can be."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host, self._reader, self._writer = host.encode(), reader, writer

    @classmethod
    async def to(cls, url: str) -> _Line:
        parts = urlsplit(url)
        return cls(parts.netloc, *await asyncio.open_connection(parts.hostname, parts.port))

    async def ask(self, method: str, path: str, cookie: bytes) -> tuple[bytes, bytes]:
        """Return the cookie that the answer sets, and its body."""
        told = (method.encode(), path.encode(), self._host, cookie)
        self._writer.write(b"%b %b HTTP/1.1\r\nhost: %b\r\ncontent-length: 0\r\ncookie: %b\r\n\r\n" % told)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if length is None:
            raise ValueError("an answer without a length")
        given = _COOKIE.search(head)
        return given[1] if given is not None else b"", await self._reader.readexactly(int(length[1]))

    def close(self) -> None:
        self._writer.close()
