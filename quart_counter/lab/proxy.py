"""A TCP proxy that breaks things on purpose: in the middle of a real connection, at the moment that is named.

    async with FaultProxy("127.0.0.1", 6379) as proxy:
        proxy.next_reply = "drop"       # the next request arrives, its reply does not
        ...
        assert proxy.fired["drop"] == 1

An exchange is a request (the first bytes after silence or after a reply) and its reply; each meets one fault: the next
of `script`, else one drawn from `mix` by `seed`, else `always`. With `only`, an exchange whose request does not hold
these bytes passes, and no fault is spent on it.

    pass            nothing
    drop            forward the request, swallow the reply, close
    drop_request    close without forwarding the request
    reset           deliver half of the reply, then RST
    stall           forward the request, hold the reply until the proxy closes
    dribble         deliver the reply byte by byte
    half_close      forward the request, then FIN towards the server; the reply still comes
"""

import asyncio
import random
import socket
import struct
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal, Self, get_args

Fault = Literal["pass", "drop", "drop_request", "reset", "stall", "dribble", "half_close"]

CHUNK = 65_536
LINGER_NOT = struct.pack("ii", 1, 0)  # close() sends RST instead of FIN


class Link:
    """One client's connection and its twin to the server."""

    def __init__(self, client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.client_reader, self.client = client
        self.server_reader: asyncio.StreamReader
        self.server: asyncio.StreamWriter
        self.between_exchanges = True
        self.fault: Fault = "pass"


class FaultProxy:
    """Listens on `url_host:port` of 127.0.0.1 and forwards to `host`:`port`; faults as in the module's docstring."""

    def __init__(
        self, host: str, port: int, *, seed: int = 0, mix: Mapping[Fault, float] | None = None, only: bytes = b""
    ) -> None:
        self.script: deque[Fault] = deque()
        self.always: Fault = "pass"
        self.fired: Counter[str] = Counter()
        self.happened: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.accepted = 0
        self.links: set[Link] = set()
        self.quiet = asyncio.Event()  # set while no connection is open
        self._upstream, self._only = (host, port), only
        self._random = random.Random(seed)
        self.mix: dict[Fault, float] = dict(mix or {})
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """HOST:PORT to connect to."""
        return f"127.0.0.1:{self.port}"

    @property
    def next_reply(self) -> Fault | None:
        """The fault that waits for the next exchange."""
        return self.script[0] if self.script else None

    @next_reply.setter
    def next_reply(self, fault: Fault) -> None:
        assert fault in get_args(Fault), f"{fault!r} is no fault; there are {', '.join(get_args(Fault))}"
        self.script.appendleft(fault)

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        self.quiet.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection and refuse new ones."""
        self._listener.close()
        await self.cut()
        await self._listener.wait_closed()

    async def cut(self) -> None:
        """Close every connection; new ones are welcome."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def inject(self, data: bytes) -> None:
        """Send `data` to every client as if the server had said it."""
        for link in self.links:
            link.client.write(data)
            await link.client.drain()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(Link((reader, writer))))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, link: Link) -> None:
        self.accepted += 1
        self.links.add(link)
        self.quiet.clear()
        try:
            link.server_reader, link.server = await asyncio.open_connection(*self._upstream)
            try:
                await self._relay(link)
            finally:
                await _close(link.server)
        except OSError:
            pass  # one side went away, or the server is not there: the client learns it by the close below
        finally:
            await _close(link.client)
            self.links.discard(link)
            if not self.links:
                self.quiet.set()

    async def _relay(self, link: Link) -> None:
        pumps = [asyncio.ensure_future(self._requests(link)), asyncio.ensure_future(self._replies(link))]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(self, link: Link) -> None:
        while data := await link.client_reader.read(CHUNK):
            if link.between_exchanges:
                link.between_exchanges = False
                link.fault = self._next_fault() if self._only in data else "pass"
            if link.fault == "drop_request":
                return self._fire("drop_request")
            link.server.write(data)
            await link.server.drain()
            if link.fault == "half_close":
                link.server.write_eof()
                self._fire("half_close")
                await _for_ever()
        link.server.write_eof()
        await _for_ever()  # the reply may still be under way

    async def _replies(self, link: Link) -> None:
        while data := await link.server_reader.read(CHUNK):
            link.between_exchanges = True
            if link.fault == "drop":
                return self._fire("drop")
            if link.fault == "stall":
                self._fire("stall")
                await _for_ever()
            if link.fault == "reset":
                link.client.write(data[: len(data) // 2])
                await link.client.drain()
                link.client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
                link.client.transport.abort()
                return self._fire("reset")
            pieces = [data] if link.fault != "dribble" else [data[i : i + 1] for i in range(len(data))]
            for piece in pieces:
                link.client.write(piece)
                await link.client.drain()
                await asyncio.sleep(0)
            if link.fault == "dribble":
                self._fire("dribble")
        return None

    def _next_fault(self) -> Fault:
        if self.script:
            return self.script.popleft()
        if self.mix:
            return self._random.choices(list(self.mix), list(self.mix.values()))[0]
        return self.always

    def _fire(self, fault: Fault) -> None:
        self.fired[fault] += 1
        self.happened[fault].set()


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
