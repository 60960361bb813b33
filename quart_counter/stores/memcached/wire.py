"""memcached's text protocol, as much of it as compare-and-swap needs, over asyncio streams.

Why no library: aiomcache 0.8.2 spins for ever, and the whole event loop with it, when the connection ends before the
reply to a `cas` (its issue 502), and hands the late reply of a timed-out command to the next caller; pymemcache blocks;
none sends the commands of many counters in one round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, SupportsIndex

from quart_counter.stores.base import NeverSent, StoreAway


class Reply(NamedTuple):
    """What one command was answered: its last line, the item that `gets` found, what `stats` listed."""

    line: bytes
    data: bytes | None
    token: bytes | None
    stats: Mapping[str, str]


class _Ear(asyncio.StreamReader):
    """Notices what is said, or that the other side left, while nobody asked: such a connection is not used again."""

    asked = stale = False

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.stale = self.stale or not self.asked
        super().feed_data(data)

    def feed_eof(self) -> None:
        self.stale = True
        super().feed_eof()


class Wire:
    """One connection, made when it is needed. An error, a timeout or a cancelled caller ends it, so that a reply which
    comes late meets nobody; the next exchange makes another."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._one_at_a_time = asyncio.Lock()
        self._open: tuple[_Ear, asyncio.Transport] | None = None

    async def exchange(self, commands: Sequence[bytes]) -> list[Reply]:
        """Send all commands at once and read all replies. Raises NeverSent or StoreAway."""
        sent = False
        try:
            async with asyncio.timeout(self._timeout_s), self._one_at_a_time:
                ear, transport = await self._connection()
                try:
                    sent = ear.asked = True
                    transport.write(b"".join(commands))  # all of it, for the replies to the first may fill our ear
                    replies = [await _reply(ear, command) for command in commands]
                    ear.asked = False
                    return replies
                finally:
                    if ear.asked:
                        await self.aclose()
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            sentence = f"memcached does not answer ({str(error) or type(error).__name__})"
            raise (StoreAway if sent else NeverSent)(sentence) from error

    async def _connection(self) -> tuple[_Ear, asyncio.Transport]:
        if self._open is not None and self._open[0].stale:
            await self.aclose()
        if self._open is None:
            loop = asyncio.get_running_loop()
            ear = _Ear(loop=loop)
            transport, _ = await loop.create_connection(
                lambda: asyncio.StreamReaderProtocol(ear, loop=loop), self._host, self._port
            )
            self._open = ear, transport
        return self._open

    async def aclose(self) -> None:
        """Close the connection."""
        if self._open is not None:
            (_, transport), self._open = self._open, None
            transport.abort()


def gets(key: str) -> bytes:
    """Ask for an item and the token of its present state."""
    return f"gets {key}\r\n".encode()


def put(key: str, data: bytes, token: bytes | None) -> bytes:
    """Store an item if its state is still that of `token`; without one, if there is none."""
    verb, tail = ("cas", b" " + token) if token is not None else ("add", b"")
    return f"{verb} {key} 0 0 {len(data)}".encode() + tail + b"\r\n" + data + b"\r\n"


def append(key: str, data: bytes) -> bytes:
    """Put `data` behind what an item holds; `add` it first."""
    return f"append {key} 0 0 {len(data)}\r\n".encode() + data + b"\r\n"


async def _reply(reader: asyncio.StreamReader, command: bytes) -> Reply:
    """Read one reply. Raises ValueError for one that cannot be an answer to `command`, such as a leftover."""
    data, token = None, None
    stats: dict[str, str] = {}
    asks = command.startswith((b"gets ", b"stats"))
    while True:
        line = (await reader.readuntil(b"\r\n"))[:-2]
        word, _, rest = line.partition(b" ")
        if asks and word == b"VALUE":
            key, _, size, token = rest.split(b" ")
            if key != command.split()[1]:
                raise ValueError(f"an answer about {key!r}")
            data = (await reader.readexactly(int(size) + 2))[:-2]
        elif asks and word == b"STAT":
            name, _, value = rest.decode("ascii", "replace").partition(" ")
            stats[name] = value
        elif asks == (word == b"END"):
            return Reply(line, data, token, stats)
        else:
            raise ValueError(f"it said {line[:100]!r}")
