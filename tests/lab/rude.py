"""Servers that answer as nobody should, byte by byte: a script says what each request gets."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[["Call"], Awaitable[None]]


@dataclass
class Call:
    """One request as it arrived. `number` counts them all, from 1."""

    server: "Rude"
    number: int
    head: str
    body: bytes
    writer: asyncio.StreamWriter

    def header(self, name: str) -> str:
        found = re.search(rf"^{name}: *(.*?)\r$", self.head, re.IGNORECASE | re.MULTILINE)
        return found[1] if found else ""

    async def say(self, data: str) -> None:
        """Send exactly this; a line end is written as such."""
        self.writer.write(data.replace("\n", "\r\n").encode())
        await self.writer.drain()

    async def answer(self, body: str = "", status: str = "200 OK", headers: str = "") -> None:
        await self.say(f"HTTP/1.1 {status}\n{headers}Content-Length: {len(body)}\n\n{body}")

    def close(self) -> None:
        self.writer.close()


@dataclass
class Rude:
    """What the server saw: how many requests, and at the first whole one, how much of each connection had come."""

    url: str = ""
    calls: int = 0
    arrived: dict[int, int] = field(default_factory=dict)
    at_the_first: list[int] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def rude(script: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Rude]:
    """Serve by a script for one block."""
    seen = Rude()
    tasks = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        seen.connections += 1
        me = seen.connections
        try:
            while not writer.is_closing():
                await one(me, reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    async def one(me: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            byte = await reader.readexactly(1)
            raw += byte
            seen.arrived[me] = len(raw)
        if not seen.at_the_first:
            seen.at_the_first = list(seen.arrived.values())
        length = re.search(rb"content-length: *(\d+)", raw, re.IGNORECASE)
        body = await reader.readexactly(int(length[1]) if length else 0)
        seen.calls += 1
        await script(Call(seen, seen.calls, raw.decode(), body, writer))

    server = await asyncio.start_server(connected, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    seen.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/tickets"
    try:
        yield seen
    finally:
        server.close()
        for task in tasks.copy():
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def count(call: Call) -> None:
    """Answer right."""
    await call.answer(f'{{"value": {call.number}}}')
