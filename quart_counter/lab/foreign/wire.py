"""A client on a socket: it sends its request except for the end, and the end when it is told to go.

A server cannot see a request whose head is not complete. So all clients can be brought to the line first, and what lies
between the first and the last of a hundred requests is the time of a hundred one-byte writes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import h11

from quart_counter.errors import ConfigurationError
from quart_counter.lab.foreign.answers import Answer
from quart_counter.lab.foreign.client import Client, Cookies, Lost, NotSent
from quart_counter.lab.foreign.target import Place, Request, Target

CHUNK: Final = 1 << 16
OTHER_FILES: Final = 64  # what a process has open besides
LONGEST: Final = 1 << 20  # of an answer's body; one with a number in it is shorter


class SocketClient:
    """A client with one connection, HTTP/1.1 by h11. `place` is the address that takes connections, `host` its name."""

    def __init__(self, request: Request, host: str, place: Place, tls: ssl.SSLContext | None) -> None:
        self._request, self._host, self._place, self._tls = request, host, place, tls
        self._cookies = Cookies()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=CHUNK * 4)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._held = b""

    async def ready(self, *, last: bool) -> bool:
        """See Client."""
        fresh = not self._open or self._http.our_state is not h11.IDLE
        if fresh:
            self.hang_up()
            await self._connect()
        assert self._writer is not None
        try:
            head, body = self._written(self._request, last)
        except h11.LocalProtocolError as error:  # a cookie that no header can carry
            raise NotSent(f"the request cannot be written ({error})") from error
        self._writer.write(head[:-1])
        self._held = head[-1:] + body
        return fresh

    def go(self) -> None:
        """See Client."""
        if self._writer is not None and self._open:
            self._writer.write(self._held)
            self._held = b""

    async def answer(self) -> Answer:
        """See Client."""
        if self._held:
            self.hang_up()
            raise NotSent("the connection was closed before the request was complete")
        try:
            answer = await self._read()
        except (OSError, EOFError, h11.RemoteProtocolError) as error:
            self.hang_up()
            raise Lost(_told(error)) from error
        self._cookies.take(answer)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        else:
            self.hang_up()
        return answer

    def hang_up(self) -> None:
        """See Client."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def aclose(self) -> None:
        """See Client."""
        writer = self._writer
        self.hang_up()
        if writer is not None:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    @property
    def _open(self) -> bool:
        if self._reader is None or self._writer is None:
            return False
        return not (self._reader.at_eof() or self._writer.is_closing())

    async def _connect(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=CHUNK * 4)
        name = self._host if self._tls is not None else None
        try:
            self._reader, self._writer = await asyncio.open_connection(
                self._place.host,
                self._place.port,
                family=self._place.family,
                ssl=self._tls,
                server_hostname=name,
            )
        except OSError as error:
            raise NotSent(_told(error)) from error

    def _written(self, request: Request, last: bool) -> tuple[bytes, bytes]:
        """Return the head and the body as they go over the wire."""
        headers = [*request.headers, *self._cookies.headers(), *([("Connection", "close")] if last else [])]
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
        head = self._http.send(h11.Request(method=request.method, target=request.path, headers=encoded))
        body = self._http.send(h11.Data(data=request.body)) if request.body else b""
        return head or b"", (body or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    async def _read(self) -> Answer:
        assert self._reader is not None
        answer, body = Answer(0), bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = await self._reader.read(CHUNK)
                if not data and not answer.status:
                    raise EOFError("the connection was closed without an answer")
                self._http.receive_data(data)
            elif isinstance(event, h11.Response):
                headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
                answer = Answer(event.status_code, headers, b"", event.reason.decode("latin-1"))
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > LONGEST:
                    raise EOFError(f"the answer is longer than {LONGEST >> 20} MiB")
            elif isinstance(event, h11.EndOfMessage):
                return answer._replace(body=bytes(body))


@asynccontextmanager
async def over_sockets(target: Target, most: int) -> AsyncIterator[Callable[[Request], Client]]:
    """Give what makes clients of the server, up to `most`, and close them all. Raises: ConfigurationError."""
    _make_room(most)
    try:
        place = await find(target)
    except NotSent as error:
        raise ConfigurationError(f"nothing answers at {target.url} ({error}): start the server first") from None
    tls, made = context(target), list[Client]()

    def client(request: Request) -> Client:
        made.append(SocketClient(request, target.host, place, tls))
        return made[-1]

    try:
        yield client
    finally:
        await asyncio.gather(*(one.aclose() for one in made))


def _make_room(connections: int) -> None:
    """Let this process have so many connections; the server needs as many."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed, comfortable = connections + OTHER_FILES, 2 * connections + OTHER_FILES  # the server may be in this process
    if soft == resource.RLIM_INFINITY or soft >= comfortable:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigurationError(
            f"{connections} connections need {needed} open files and this process may have {hard}: "
            "use fewer clients, or raise the limit (ulimit -Hn)"
        )
    wanted = comfortable if hard == resource.RLIM_INFINITY else min(comfortable, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def find(target: Target) -> Place:
    """Return the first address that takes a connection. Raises: NotSent."""
    trouble = ""
    for place in target.places:
        try:
            _, writer = await asyncio.open_connection(place.host, place.port, family=place.family)
        except OSError as error:
            trouble = _told(error)
            continue
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return place
    raise NotSent(trouble)


def context(target: Target) -> ssl.SSLContext | None:
    """Return how TLS is spoken with the target, one for all clients.

    On this machine nobody stands between, and certificates there are self-signed: they are not looked at.
    """
    if not target.tls:
        return None
    if not target.trusted:
        return ssl.create_default_context()
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    return careless


def _told(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection reset"
    return str(error) or type(error).__name__
