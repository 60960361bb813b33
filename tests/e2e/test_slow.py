"""Clients that take their time, or take no answers: none of them is kept for longer than ten seconds."""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

import quart_counter.app as app_module
from e2e.raw import Connection, ask, connect, request, served_by
from quart_counter import create_app
from quart_counter.asgi import connection as of_hypercorn
from quart_counter.asgi import uvicorn_connection as of_uvicorn

INCREMENT = "/counters/tickets/increment"
WHOLE = request("POST", INCREMENT)
LONGEST_S = 10.0  # for the least patient; the tests are in a hurry
HURRY_S = 1.0
SOON_S = 6.0  # after HURRY_S, on a busy machine


@pytest.fixture(params=["hypercorn", "uvicorn"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    for of in (of_hypercorn, of_uvicorn):
        assert max(of.HEAD_S, of.UNREAD_S) <= LONGEST_S
        monkeypatch.setattr(of, "HEAD_S", HURRY_S)
        monkeypatch.setattr(of, "UNREAD_S", HURRY_S)
    monkeypatch.setattr(app_module, "BODY_TIMEOUT_S", HURRY_S)
    return str(request.param)


@pytest.fixture
async def url(server: str) -> AsyncIterator[str]:
    async with served_by(server, create_app()) as url:
        yield url


async def dribble(connection: Connection, first: bytes, then: bytes) -> bytes:
    """Send `first`, then `then` a byte at a time until the other side has enough; return what it said."""
    await connection.send(first)
    saying = asyncio.ensure_future(connection.rest())
    with suppress(ConnectionError):
        for byte in then * 1000:
            await connection.send(bytes([byte]))
            await asyncio.wait([saying], timeout=0.1)  # the dribble itself
            if saying.done():
                break
    return await saying


async def said_by(url: str, first: bytes, then: bytes = b"") -> tuple[bytes, float]:
    """What such a client hears, and how long it was kept."""
    loop = asyncio.get_running_loop()
    async with connect(url) as connection:
        since = loop.time()
        said = await dribble(connection, first, then) if then else await _silent(connection, first)
        return said, loop.time() - since


async def _silent(connection: Connection, first: bytes) -> bytes:
    await connection.send(first)
    return await connection.rest()


UNENDING = {
    "says nothing": (b"", b"", b""),
    "stops in the request line": (b"GET /coun", b"", b"408"),
    "stops in a header": (WHOLE[:-4], b"", b"408"),
    "dribbles a request line": (b"GET /", b"x", b"408"),
    "dribbles a header": (WHOLE[:-2] + b"X-Slow: ", b"x", b"408"),
    "dribbles headers": (WHOLE[:-2], b"X-Slow: 1\r\n", b"408"),
    "stops in its second request": (WHOLE + WHOLE[:-4], b"", b"408"),
    "dribbles its second request": (WHOLE + WHOLE[:-2], b"X-Slow: 1\r\n", b"408"),
    "dribbles empty lines": (b"", b"\r\n", b""),
}


async def test_a_head_must_come_to_its_end(url: str) -> None:
    """All at once: each of them alone would take as long."""
    heard = await asyncio.gather(
        *(said_by(url, first, then) for first, then, _ in UNENDING.values()), return_exceptions=True
    )
    assert not [what for what, one in zip(UNENDING, heard, strict=True) if isinstance(one, BaseException)]
    for (what, (first, _, status)), (said, took_s) in zip(UNENDING.items(), heard, strict=True):
        assert took_s < HURRY_S + SOON_S, (what, took_s)
        answers = re.findall(rb"HTTP/1.1 (\d+)", said)
        assert answers[: first.count(b"\r\n\r\n")] == [b"200"] * first.count(b"\r\n\r\n"), (what, said)
        assert not status or answers[-1] == status, (what, said)
    assert (await ask(url, "GET", "/counters/tickets")).json["version"] == 2


async def test_a_client_that_waits_between_its_requests_is_kept(url: str) -> None:
    """Longer than a head may take: only an unfinished one is in a hurry."""
    async with connect(url) as connection:
        assert (await connection.ask("POST", INCREMENT)).json["value"] == 1
        await asyncio.sleep(2 * HURRY_S)  # it is the waiting that is tested
        assert (await connection.ask("POST", INCREMENT)).json["value"] == 2


async def ask_for_ever(client: socket.socket) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(client, request("GET", "/openapi.json") * 50)


async def test_who_reads_no_answers_is_cut_off(url: str) -> None:
    """However many it asked for; and what waits for it stays small."""
    where = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, (where[0], int(where[1])))
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(ask_for_ever(client), LONGEST_S)
    assert (await ask(url, "GET", "/healthz")).status == 200


async def test_an_unwanted_body_comes_to_its_end(url: str) -> None:
    """Answered with 413 long ago, and still sending."""
    head = request("POST", INCREMENT, [("Content-Type", "application/json"), ("Content-Length", "9999999")])
    said, took_s = await said_by(url, head + b" " * 100_000, b" ")
    assert b" 413 " in said
    assert took_s < 2 * HURRY_S + SOON_S


async def test_nothing_is_done_for_who_is_gone(url: str) -> None:
    """A row of requests of which none was read, and a reset: what waits behind the first answers is dropped."""
    where = url.removeprefix("http://").split(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.setblocking(False)
        await loop.sock_connect(client, (where[0], int(where[1])))
        await loop.sock_sendall(client, request("GET", "/openapi.json") * 300 + WHOLE * 300)
        assert (await ask(url, "GET", "/healthz")).status == 200  # it has begun
    for _ in range(300):
        assert (await ask(url, "GET", "/healthz")).status == 200
    assert (await ask(url, "GET", "/counters/tickets")).json["version"] == 0


async def test_who_reads_nothing_keeps_nobody_from_stopping(server: str) -> None:
    """A row of requests waits behind an answer that nobody reads, and the worker is told to stop."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        async with served_by(server, create_app()) as url:
            where = url.removeprefix("http://").split(":")
            await loop.sock_connect(client, (where[0], int(where[1])))
            await loop.sock_sendall(client, request("GET", "/openapi.json") * 300)
            assert (await ask(url, "GET", "/healthz")).status == 200
            since = loop.time()
        assert loop.time() - since < SOON_S
