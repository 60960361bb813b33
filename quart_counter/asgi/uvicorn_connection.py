"""One TCP connection of a worker under Uvicorn: its own, with bounds that it does not have.

Uvicorn reads a head of any size for any time, queues any number of requests, waits for ever for a client that does not
read, and answers a broken request at once, also in place of the answer to the one before. It parses with httptools, so
these are llhttp's rules.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S: Final = 8.0  # from connecting, or from the first byte after an answer, to the end of the request's head
UNREAD_S: Final = 10.0  # for a client to make room for more of its answers
PIPELINED: Final = 100  # requests that may wait for the answer to the one before


class TooMany(Exception):
    """More requests at once than are kept."""


class Connection(HttpToolsProtocol):
    """Takes the place of Uvicorn's `HttpToolsProtocol`."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._begun = False  # a head, and it is not here yet
        self._unfinished = 0  # its bytes, at least
        self._over = False  # nothing is read any more

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._late = self.loop.call_later(HEAD_S, self._head_is_late)

    def connection_lost(self, error: Exception | None) -> None:
        """Wait for nothing any more."""
        self._head_is_here()
        self.resume_writing()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        """Read on, in bounds."""
        if self._over:
            return
        super().data_received(data)
        if not self._answered() or self.transport.is_closing():
            return
        if self._late is None:  # between two requests, or in a body that nobody wants
            self._late = self.loop.call_later(HEAD_S, self._head_is_late)
        self._unfinished += len(data)
        if self._unfinished > (self.config.h11_max_incomplete_event_size or 0) and not self._is_unwanted_body():
            self._end(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        """Note that there is the first byte of a head."""
        super().on_message_begin()
        self._begun = True

    def on_headers_complete(self) -> None:
        """Start the request, or put it behind the one under way."""
        if len(self.pipeline) >= PIPELINED:
            raise TooMany  # through llhttp, which tells send_400_response
        self._head_is_here()
        super().on_headers_complete()
        if self.parser.should_upgrade():  # we speak nothing else, and llhttp does not go on after it
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Note the end of a body, also of one that nobody wanted."""
        super().on_message_complete()
        self.cycle.more_body = False

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read, unless that would be taken for the answer to what came before it."""
        cycle = self.cycle
        if self._answered() or (cycle.more_body and not cycle.response_started and not self.pipeline):
            self._end(b"400 Bad Request")
        else:
            self._over = True
            cycle.keep_alive = False  # the last one that can be read is the last one that is answered

    def pause_writing(self) -> None:
        """The client does not read: give it a while."""
        super().pause_writing()
        self._stuck = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def on_response_complete(self) -> None:
        """Go on with the next, or see that the rest of this one comes to an end."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._do_not_linger()
        elif (self._begun or self._is_unwanted_body()) and self._late is None:
            self._late = self.loop.call_later(HEAD_S, self._head_is_late)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long."""
        super().timeout_keep_alive_handler()
        self._do_not_linger()

    def _unsupported_upgrade_warning(self) -> None:
        """Nobody needs to hear of it."""

    def _answered(self) -> bool:
        """Whether nobody waits for an answer."""
        return self.cycle is None or self.cycle.response_complete

    def _is_unwanted_body(self) -> bool:
        """Whether what comes now is the body of a request that is answered already."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def _head_is_here(self) -> None:
        self._begun, self._unfinished = False, 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        """Close the connection; if its client had begun to ask, say why."""
        if self._begun:
            return self._end(b"408 Request Timeout")
        self.transport.close()
        self._do_not_linger()

    def _end(self, status: bytes) -> None:
        self._over = True
        self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        self.transport.close()
        self._do_not_linger()

    def _do_not_linger(self) -> None:
        """A connection that is closed ends when all was read; see that it ends anyway."""
        if self.transport.get_write_buffer_size():
            self.loop.call_later(UNREAD_S, self.transport.abort)
