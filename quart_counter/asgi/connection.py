"""One TCP connection of a worker: Hypercorn's, with less work for each request.

Hypercorn starts a task after each answer, to close the connection when it was idle for too long, and ends it with the
next request; and it hands head, body and end of an answer to the kernel one by one. Here one task watches the
connection for its whole life, and what is written in one step of the loop leaves together. `benchmarks` measures it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, Event, RawData, Updated

AT_ONCE: Final = 64 * 1024  # bytes that may wait for the end of the loop's step


class Connection(TCPServer):
    """Takes the place of Hypercorn's `TCPServer`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._idle_since: float | None = self.loop.time()
        self._waiting: list[bytes] = []
        self._waiting_size = 0

    async def protocol_send(self, event: Event) -> None:
        """Write an answer's bytes, or hear that the connection is idle, busy or to be closed."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Updated):
            self._idle_since = self.loop.time() if event.idle else None
        else:
            self._flush()
            await super().protocol_send(event)

    async def _write(self, data: bytes) -> None:
        if not data:  # the end of an answer of known length
            return
        if not self._waiting:
            self.loop.call_soon(self._flush)
        self._waiting.append(data)
        self._waiting_size += len(data)
        try:
            if self._waiting_size > AT_ONCE:
                self._flush()
            await self.writer.drain()
        except (ConnectionError, RuntimeError):
            await self.protocol.handle(Closed())

    def _flush(self) -> None:
        data, self._waiting, self._waiting_size = b"".join(self._waiting), [], 0
        if data and not self.writer.is_closing():
            self.writer.write(data)

    async def _read_data(self) -> None:
        await super()._read_data()
        # Hypercorn keeps a connection that its client has closed for another keep_alive_timeout, and its file
        # descriptor with it: a thousand clients that connect anew for each request would use up all there are.
        await self.idle_task.stop()

    async def _close(self) -> None:
        self._flush()
        await super()._close()

    async def _idle_timeout(self) -> None:
        """Close the connection when it was idle for too long, or is idle when the worker stops."""
        longest_s = self.config.keep_alive_timeout
        while not self.context.terminated.is_set():
            left_s = longest_s if self._idle_since is None else self._idle_since + longest_s - self.loop.time()
            if left_s <= 0:
                break
            try:
                async with asyncio.timeout(left_s):
                    await self.context.terminated.wait()
            except TimeoutError:
                continue
        if self._idle_since is not None:  # otherwise Hypercorn closes it after the answer that is under way
            self._flush()
            await asyncio.shield(self._initiate_server_close())
