"""One TCP connection of a worker under Uvicorn: its own, with bounds that it does not have.

Uvicorn reads a head of any size for any time, makes requests of all that it has read (20 MB a connection), waits for
ever for a client that does not read, tells only the last of the requests that wait that their client has left, answers
a broken request at once, also in place of the answer to the one before, and drops the body of one that offers another
protocol. It parses with httptools, so these are llhttp's rules.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from quart_counter.asgi.patience import HEAD_S, UNREAD_S

AT_ONCE: Final = 4096  # bytes that are made into requests at once, while others of the same client wait
FRAMING: Final = (b"content-length", b"transfer-encoding")


class Flow(FlowControl):
    """Every request that waits for its body resumes reading; here not while there is more to be parsed already."""

    _held = False

    def hold(self, held: bool) -> None:
        """Read nothing from the socket, or go on if that was why it stopped."""
        before, self._held = self._held, held
        if held:
            self.pause_reading()
        elif before:
            self.resume_reading()

    def resume_reading(self) -> None:
        """Go on, unless it is held."""
        if not self._held:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """Takes the place of Uvicorn's `HttpToolsProtocol`."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._begun = False  # a head, and it is not here yet
        self._unfinished = 0  # its bytes, at least
        self._over = False  # nothing is read any more
        self._unparsed = b""
        self._framing: list[bytes] = []  # how long the body is that llhttp leaves out
        self._head_again = False
        self._cycles: deque[RequestResponseCycle] = deque()  # requests without a whole answer, the oldest first

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self.flow: Flow = Flow(transport)
        self._late = self.loop.call_later(HEAD_S, self._head_is_late)

    def connection_lost(self, error: Exception | None) -> None:
        """Wait for nothing any more, and tell all requests."""
        self._head_is_here()
        self._unparsed = b""
        self._hang_up()
        self.resume_writing()
        super().connection_lost(error)

    def _hang_up(self) -> None:
        """Tell all requests that their client is gone: uvloop raises at who writes to a closed connection."""
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Read on, in bounds, as far as no request waits for another."""
        self._unparsed += data
        self._parse_on()

    def _parse_on(self) -> None:
        while self._unparsed and not self.pipeline and not self._over and not self.transport.is_closing():
            piece, self._unparsed = self._unparsed[:AT_ONCE], self._unparsed[AT_ONCE:]
            self._parse(piece)
        if self._over:
            self._unparsed = b""
        self.flow.hold(bool(self._unparsed))

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._feed(data)
        if not self._answered() or self.transport.is_closing():
            return
        if self._late is None:  # between two requests, or in a body that nobody wants
            self._late = self.loop.call_later(HEAD_S, self._head_is_late)
        self._unfinished += len(data)
        if self._unfinished > (self.config.h11_max_incomplete_event_size or 0) and not self._is_unwanted_body():
            self._end(b"431 Request Header Fields Too Large")

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            self._pass_over(data[offer.args[0] :])
        except HttpParserError:
            self.send_400_response("")

    def _pass_over(self, rest: bytes) -> None:
        """Go on behind an offer of another protocol: we speak only this one, so the body counts (RFC 9110, 7.8).

        llhttp takes the request to end with its head. So another one is told how long the body is, without the offer.
        """
        framing, self._framing = self._framing, []
        if framing:
            self.parser = HttpRequestParser(self)
            self._head_again = True
            last = [] if self.cycle.keep_alive else [b"connection: close"]
            self._feed(b"\r\n".join([b"POST / HTTP/1.1", *framing, *last, b"", b""]))
        if rest and not self._over:
            self._feed(rest)

    def on_message_begin(self) -> None:
        """Note that there is the first byte of a head."""
        super().on_message_begin()
        self._begun = True

    def on_headers_complete(self) -> None:
        """Start the request, or put it behind the one under way."""
        self._head_is_here()
        if self._head_again:
            self._head_again = False
            return
        super().on_headers_complete()
        self._cycles.append(self.cycle)
        if self.parser.should_upgrade():
            self._framing = [b"%b: %b" % (word, value) for word, value in self.headers if word in FRAMING]

    def on_message_complete(self) -> None:
        """Note the end of a body, also of one that nobody wanted."""
        if self._framing:
            return  # the body is still to come
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
        self._stuck = self.loop.call_later(UNREAD_S, self._abort)

    def _abort(self) -> None:
        self._hang_up()
        self.transport.abort()

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def on_response_complete(self) -> None:
        """Go on with the next, or see that the rest of this one comes to an end."""
        self._cycles.popleft()
        super().on_response_complete()
        self._parse_on()
        if self.transport.is_closing():
            self._do_not_linger()
        elif (self._begun or self._is_unwanted_body()) and self._late is None:
            self._late = self.loop.call_later(HEAD_S, self._head_is_late)

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was idle for too long."""
        super().timeout_keep_alive_handler()
        self._do_not_linger()

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
        self._hang_up()
        self.transport.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status)
        self.transport.close()
        self._do_not_linger()

    def _do_not_linger(self) -> None:
        """A connection that is closed ends when all was read; see that it ends anyway."""
        if self.transport.get_write_buffer_size():
            self.loop.call_later(UNREAD_S, self.transport.abort)
