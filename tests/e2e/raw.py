"""HTTP by hand: what clients hide (two headers of one name, broken framing, half-closed sockets) is what we test."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from quart_counter.asgi import hypercorn as by_hypercorn
from quart_counter.asgi import uvicorn as by_uvicorn
from quart_counter.serving.service import SERVER

PATIENCE_S = 15.0  # nothing here takes so long unless it hangs

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """One HTTP answer, headers in lower case."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def says_close(self) -> bool:
        return self.header("connection") == "close"


class Connection:
    """One TCP connection that speaks as much HTTP as its test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Reply:
        await self.send(request(method, target, headers, body))
        return await self.reply(to=method)

    async def reply(self, to: str = "GET") -> Reply:
        """Read one answer. Raises EOFError (IncompleteReadError) or ConnectionError when there is none."""
        async with asyncio.timeout(PATIENCE_S):
            while (head := await self._head()).status < 200:
                pass
            length = int(head.header("content-length") or 0)
            bodyless = to == "HEAD" or head.status in (204, 304)
            return head if bodyless else Reply(head.status, head.headers, await self.reader.readexactly(length))

    async def _head(self) -> Reply:
        first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        return Reply(int(first.split(" ")[1]), headers)

    async def rest(self) -> bytes:
        """What still comes until the other side closes; a reset is a close too."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


def request(method: str, target: str, headers: Headers = (), body: bytes = b"", version: str = "1.1") -> bytes:
    """Write one request; Host and Content-Length are ours unless given."""
    given = [*headers]
    words = {name.lower() for name, _ in given}
    if "host" not in words:
        given.append(("Host", "localhost"))
    if body and not words & {"content-length", "transfer-encoding"}:
        given.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in given), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def chunked(body: bytes, size: int = 4096) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ask(url: str, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Reply:
    """One request on a connection of its own."""
    async with connect(url) as connection:
        return await connection.ask(method, target, headers, body)


def hypercorn(app: Any, **overrides: Any) -> AbstractAsyncContextManager[str]:
    """Serve `app` by a real Hypercorn as our workers run it, in this loop; yields the URL."""
    return served_by("hypercorn", app, **overrides)


@asynccontextmanager
async def served_by(server: str, app: Any, **overrides: Any) -> AsyncIterator[str]:
    """Serve `app` as our workers do, in this loop; yields the URL."""
    run_until = {"hypercorn": by_hypercorn.run_until, "uvicorn": by_uvicorn.run_until}[server]
    listening = socket.create_server(("127.0.0.1", 0), backlog=SERVER["backlog"])
    url = "http://{}:{}".format(*listening.getsockname())
    stop = asyncio.Event()
    serving = asyncio.create_task(run_until(stop.wait, app, {**SERVER, **overrides}, listening.detach(), 1.0))
    first = asyncio.ensure_future(ask(url, "GET", "/healthz"))
    await asyncio.wait((serving, first), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():  # it did not start: say why instead of hanging
        first.cancel()
        await serving
    try:
        yield url
    finally:
        stop.set()
        await serving
