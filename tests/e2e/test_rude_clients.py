"""Clients that send without reading, or leave in the middle: bounded memory, nobody else waits, nothing is logged."""

import asyncio
import os
import signal
import socket
import struct
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest

from e2e.raw import Connection, connect, request
from e2e.served import serve

INCREMENT = "/counters/tickets/increment"
LARGE = request("GET", "/openapi.json")  # its answers fill the buffers between us soon
ROW = 5000  # requests, more than fit into what is read from a socket at once
FLOODS = 5
GROWTH_MIB = 60  # Uvicorn alone: 110, for each row that it has read waits as requests
FULL_S = 0.5  # nothing more is taken

SERVERS = {
    "hypercorn": ("--server", "hypercorn", "--loop", "asyncio"),
    "uvicorn": ("--server", "uvicorn", "--loop", "asyncio"),
    "uvicorn on uvloop": ("--server", "uvicorn", "--loop", "uvloop"),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> tuple[str, ...]:
    if "uvloop" in request.param:
        pytest.importorskip("uvloop")
    return SERVERS[request.param]


def resident_mib(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


async def flood(url: str) -> socket.socket:
    """Send requests until no more are taken, and read nothing."""
    where, sock = urlsplit(url), socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((where.hostname, where.port))
    sock.setblocking(False)
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(FULL_S):
                await asyncio.get_running_loop().sock_sendall(sock, LARGE * ROW)
    return sock


def leave(sock: socket.socket) -> None:
    reset_at_close(sock)
    sock.close()


def reset_at_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_who_sends_and_never_reads_is_a_burden_to_nobody(server: tuple[str, ...]) -> None:
    async with serve(*server) as served:
        async with connect(served.url) as one:
            assert (await one.ask("GET", "/openapi.json")).status == 200
        before = resident_mib(served.workers[0])
        with ExitStack() as floods:
            for _ in range(FLOODS):
                floods.callback(leave, await flood(served.url))
            async with asyncio.timeout(5), connect(served.url) as one:
                assert (await one.ask("POST", INCREMENT)).json["value"] == 1
            assert resident_mib(served.workers[0]) - before < GROWTH_MIB
        served.signal(signal.SIGTERM)
        assert await served.status() == 0
        assert served.said[-1].startswith("stopping"), served.said


async def test_who_leaves_in_a_row_of_requests_is_not_worth_a_word(server: tuple[str, ...]) -> None:
    async with serve(*server) as served:
        for _ in range(20):
            async with connect(served.url) as one:
                await one.send(LARGE * 30)
                await one.reader.read(1000)
                reset_at_close(one.writer.get_extra_info("socket"))
                one.writer.transport.abort()
        async with connect(served.url) as one:
            assert (await one.ask("POST", INCREMENT)).json["value"] == 1
            await one.send(b"no HTTP\r\n\r\n")
            await one.rest()
        served.signal(signal.SIGTERM)
        assert await served.status() == 0
        assert [line for line in served.said if "Traceback" in line or "Invalid" in line] == []


async def test_a_row_of_requests_is_answered_in_order_however_it_is_cut(server: tuple[str, ...]) -> None:
    """Bodies too, across every border."""
    one = request("POST", INCREMENT, [("Content-Type", "application/json")], b'{"by": 2}')
    values: list[int] = []
    async with serve(*server) as served:
        for piece, times in ((1, 3), (4095, 150), (4096, 150), (4097, 150), (100_000, 1000)):
            async with connect(served.url) as connection:
                sending = asyncio.create_task(send_in_pieces(connection, one * times, piece))
                values += [(await connection.reply()).json["value"] for _ in range(times)]
                await sending
    assert values == [2 * (n + 1) for n in range(len(values))]


async def send_in_pieces(connection: Connection, row: bytes, size: int) -> None:
    for begin in range(0, len(row), size):
        await connection.send(row[begin : begin + size])
        await asyncio.sleep(0)


async def test_what_is_upgraded_is_answered_without_a_word() -> None:
    """By Hypercorn too, see test_front."""
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
    async with serve(*SERVERS["uvicorn"]) as served:
        for path in ("/", "/session/increment", INCREMENT):
            async with connect(served.url) as one:
                reply = await one.ask("GET", path, [*upgrade, ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
                assert reply.status in (200, 405)  # Uvicorn takes it for a plain request (RFC 9110, 7.8)
        served.signal(signal.SIGTERM)
        assert await served.status() == 0
        assert served.said[-1].startswith("stopping")
        assert not [line for line in served.said if "upgrade" in line or "Traceback" in line]
