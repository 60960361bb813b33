"""One TCP connection of a worker: Hypercorn's, with less work for each request.

Hypercorn starts a task after each answer, to close the connection when it was idle for too long, and ends it with the
next request; and it hands head, body and end of an answer to the kernel one by one. Here one task watches the
connection for its whole life, and what is written in one step of the loop leaves together. `benchmarks` measures it.

And it does not wait for ever: for the head of a request, nor for a client that does not read its answers.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import h11
from hypercorn.asyncio.tcp_server import MAX_RECV, TCPServer
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Request
from hypercorn.protocol.h11 import STREAM_ID, H11Protocol
from hypercorn.protocol.http_stream import HTTPStream

from quart_counter.asgi.patience import HEAD_S, UNREAD_S

AT_ONCE: Final = 64 * 1024  # bytes that may wait for the end of the loop's step
LINE_ENDS: Final = re.compile(rb"(?:\r\n)+")
LATE: Final = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Parser(h11.Connection):
    """h11's, that reads nothing behind a last request (RFC 9112, 9.6), nor when nobody is there for the answers.

    h11 takes a line end after it for a mistake, and Hypercorn would answer that in place of the request.
    """

    is_over = False

    def receive_data(self, data: bytes) -> None:
        """Take what came, as long as it may matter."""
        if not self._is_done():
            super().receive_data(data)

    def next_event(self) -> Any:
        """Return what came next."""
        if self._is_done() or (self.their_state is h11.IDLE and self._is_half_a_line_end()):
            return h11.NEED_DATA
        return super().next_event()

    def _is_half_a_line_end(self) -> bool:
        """Drop empty lines first: there are clients that send one behind a body (RFC 9112, 2.2)."""
        rest = self.trailing_data[0]
        empty = LINE_ENDS.match(rest)
        if empty is None:
            return rest == b"\r"
        self._receive_buffer.maybe_extract_at_most(empty.end())
        return rest[empty.end() :] == b"\r"

    def _is_done(self) -> bool:
        return self.is_over or self.their_state is h11.MUST_CLOSE


class Http1(H11Protocol):
    """HTTP/1.1 and nothing else: an offer of HTTP/2 or of a WebSocket is passed over, as RFC 9110 (7.8) lets us.

    Hypercorn answers a WebSocket's broken handshake and keeps the connection, for ever.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connection: Parser = Parser(h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size)

    async def handle(self, event: Event) -> None:
        """Hear what came, or that the connection is no more."""
        if isinstance(event, Closed):
            await self.read_no_more()
        await super().handle(event)

    async def read_no_more(self) -> None:
        """Begin none of the requests that are read and wait: Hypercorn would answer them all to nobody."""
        self.connection.is_over = True
        await self.can_read.set()

    async def _close_stream(self) -> None:
        """End the request under way. What is unread of its body makes room for the word that it is over.

        Nobody reads it after the answer, so Hypercorn waited for ever where ten pieces had come.
        """
        if self.stream is not None:
            unread: asyncio.Queue[Any] = self.stream.app_put.__self__  # type: ignore[union-attr]
            for _ in range(unread.qsize() if unread.full() else 0):
                unread.get_nowait()
        await super()._close_stream()

    async def _check_protocol(self, event: h11.Request) -> None:
        """Begin no HTTP/2; a request line that says so is turned away with the other bad ones."""

    async def _create_stream(self, request: h11.Request) -> None:
        """Begin a request, whatever else it offers."""
        peers = (self.ssl, self.client, self.server)
        self.stream = HTTPStream(
            self.app, self.config, self.context, self.task_group, *peers, self.stream_send, STREAM_ID
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )
        self.keep_alive_requests += 1
        await self.context.mark_request()


class Connection(TCPServer):
    """Takes the place of Hypercorn's `TCPServer`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._idle_since: float | None = self.loop.time()
        self._late: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._head_is_late)
        self._waiting: list[bytes] = []
        self._waiting_size = 0

    async def protocol_send(self, event: Event) -> None:
        """Write an answer's bytes, or hear that the connection is idle, busy or to be closed."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Updated):
            self._idle_since = self.loop.time() if event.idle else None
            if self._late is not None:
                self._head_is_here()
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
            await self._drain()
        except (ConnectionError, RuntimeError):
            await self.protocol.handle(Closed())

    async def _drain(self) -> None:
        """Wait until the client has read enough; one that does not read is cut off."""
        transport = self.writer.transport
        if not transport.get_write_buffer_size():  # nearly always
            return await self.writer.drain()
        try:
            async with asyncio.timeout(UNREAD_S):
                await self.writer.drain()
        except TimeoutError:
            transport.abort()
            raise ConnectionAbortedError from None

    def _flush(self) -> None:
        data, self._waiting, self._waiting_size = b"".join(self._waiting), [], 0
        if data and not self.writer.is_closing():
            self.writer.write(data)

    async def _read_data(self) -> None:
        while not (self.reader.at_eof() or self.writer.is_closing()):
            try:
                data = await self.reader.read(MAX_RECV)
            except OSError:
                break
            await self.protocol.handle(RawData(data))
            if self._idle_since is not None and self._late is None and self._has_begun():
                self._late = self.loop.call_later(HEAD_S, self._head_is_late)
        await self.protocol.handle(Closed())
        # Hypercorn keeps a connection that its client has closed for another keep_alive_timeout, and its file
        # descriptor with it: a thousand clients that connect anew for each request would use up all there are.
        await self.idle_task.stop()

    def _has_begun(self) -> bool:
        """Whether there is a part of a head."""
        http: Any = self.protocol.protocol
        return bool(http.connection.trailing_data[0])

    def _head_is_here(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        """Close the connection; if its client had begun to ask, say why."""
        if self._has_begun():
            self.writer.write(LATE)
        self._do_not_linger()
        self.writer.close()

    def _do_not_linger(self) -> None:
        """A connection that is closed ends when all was read; see that it ends anyway."""
        if self.writer.transport.get_write_buffer_size():
            self.loop.call_later(UNREAD_S, self.writer.transport.abort)

    async def _close(self) -> None:
        self._head_is_here()
        self._flush()
        if isinstance(http := self.protocol.protocol, Http1):
            await http.read_no_more()
        self._do_not_linger()
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
            self._do_not_linger()
            await asyncio.shield(self._initiate_server_close())
