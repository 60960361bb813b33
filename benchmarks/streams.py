"""The memory that an idle event stream takes in the worker that keeps it open."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final
from urllib.parse import urlsplit

from benchmarks import processes
from benchmarks.measures import BY_NAME
from benchmarks.report import Table
from benchmarks.servers import Stores, start

STREAMS: Final = 400
WARM_UP: Final = 20  # streams that make what the first ones make
ASK: Final = b"GET /events HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n"


def measure(say: Callable[[str], None]) -> Table:
    """Open STREAMS streams, wait for the first event of each, and see how much larger the service is."""
    say(f"memory of {STREAMS} event streams")
    cells = [["an idle event stream, Hypercorn", _bytes("lock")]]
    return Table("Event streams", [f"bytes each, of {STREAMS}", "resident"], cells)


def _bytes(server: str) -> str:
    with Stores() as stores, start(BY_NAME[server], stores) as running, ExitStack() as streams:
        for _ in range(WARM_UP):
            streams.enter_context(_stream(running.url))
        before = sum(map(processes.resident_bytes, processes.family(running.pid)))
        for _ in range(STREAMS):
            streams.enter_context(_stream(running.url))
        after = sum(map(processes.resident_bytes, processes.family(running.pid)))
        return f"{(after - before) / STREAMS:,.0f}"


def _stream(url: str) -> socket.socket:
    """Return a connection on which the first event has come."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=10.0)
    connection.sendall(ASK)
    heard = b""
    while b"\r\n\r\n" not in heard or b"data:" not in heard:
        came = connection.recv(4096)
        if not came:
            raise ConnectionError(f"the stream ended after {heard[:200]!r}")
        heard += came
    return connection
