"""A client of an event stream, on a raw socket: reads events one by one, and can vanish in the middle."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from e2e.raw import PATIENCE_S, Connection, Headers, connect, request


@dataclass(frozen=True)
class Event:
    kind: str = "message"
    data: str = ""
    id: str = ""
    retry: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Stream:
    """What a browser's EventSource reads."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.status = 0
        self._text = ""

    async def open(self, target: str, headers: Headers = ()) -> None:
        await self._connection.send(request("GET", target, headers))
        head = (await self._connection.reader.readuntil(b"\r\n\r\n")).decode()
        self.status = int(head.split(" ")[1])
        assert self.status != 200 or "content-type: text/event-stream" in head

    async def next(self, kind: str = "") -> Event:
        """Wait for the next event (of this kind). Raises EOFError when the stream has ended."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while "\n\n" not in self._text:
                    self._text += await self._chunk()
                block, _, self._text = self._text.partition("\n\n")
                fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
                if "data" not in fields:
                    continue
                event = Event(fields.get("event", "message"), fields["data"], fields.get("id", ""))
                if kind in ("", event.kind):
                    return event

    async def _chunk(self) -> str:
        reader = self._connection.reader
        size = int(await reader.readuntil(b"\r\n"), 16)
        piece = (await reader.readexactly(size + 2))[:-2].decode()
        if not size:
            raise EOFError
        return piece

    async def end(self) -> list[Event]:
        """Read to the end of the stream."""
        events = []
        try:
            while True:
                events.append(await self.next())
        except EOFError:
            return events


@asynccontextmanager
async def stream(url: str, target: str = "/events", headers: Headers = ()) -> AsyncIterator[Stream]:
    async with connect(url) as connection:
        opened = Stream(connection)
        await opened.open(target, headers)
        yield opened
