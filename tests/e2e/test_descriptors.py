"""More connections than a worker may have file descriptors: it takes all it may, and what says nothing goes first."""

import asyncio
import os
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from e2e.raw import Connection, ask, request
from e2e.served import Served, started

FEW = 64  # a worker uses some twenty for itself
CROWD = 60
INCREMENT = ("POST", "/counters/tickets/increment")
LATE_S = 30.0  # a silent connection is kept for 8 s, and the machine may be busy


def write(script: Path, text: str) -> None:
    script.write_text(text)
    script.chmod(0o755)


@asynccontextmanager
async def serve_with(limit: str, limited: Path, *arguments: str) -> AsyncIterator[Served]:
    """`quart-counter serve` under a limit of a shell's `ulimit`, by a script of that name."""
    write(limited, f'#!/bin/sh\nulimit {limit} {FEW} && exec "{sys.executable}" "$@"\n')
    async with started("serve", "--bind", "127.0.0.1:0", *arguments, python=str(limited)) as served:
        found = await served.says(r"listening on\s+(http://\S+)\s+\(workers: (\d+)\)")
        served.url, served.workers = found[1], [int(found[2])]
        yield served


async def silent(url: str, number: int, stack: AsyncExitStack) -> list[Connection]:
    host, port = url.removeprefix("http://").split(":")
    crowd = []
    for _ in range(number):
        reader, writer = await asyncio.open_connection(host, int(port))
        stack.callback(writer.close)
        crowd.append(Connection(reader, writer))
    return crowd


async def test_a_worker_takes_all_the_descriptors_that_it_may(tmp_path: Path) -> None:
    """The soft limit is for programs that use select(); 1,024 silent connections shut out everybody else once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with serve_with("-Sn", tmp_path / "python") as served, AsyncExitStack() as stack:
        await silent(served.url, 2 * CROWD, stack)
        assert (await ask(served.url, *INCREMENT)).json["value"] == 1
        assert resource.prlimit(served.workers[0], resource.RLIMIT_NOFILE) == (most, most)
        assert len(os.listdir(f"/proc/{served.workers[0]}/fd")) > 2 * CROWD


async def test_beyond_them_silent_ones_make_room_and_little_is_said(tmp_path: Path) -> None:
    """Whoever says nothing is closed, the oldest first; until then others wait, and the log does not fill up."""
    await asyncio.gather(*(make_room(server, tmp_path / server) for server in ("hypercorn", "uvicorn")))


async def make_room(server: str, limited: Path) -> None:
    async with serve_with("-n", limited, "--server", server, "--loop", "asyncio") as served, AsyncExitStack() as stack:
        crowd = await silent(served.url, CROWD, stack)
        (late,) = await silent(served.url, 1, stack)
        await late.send(request(*INCREMENT))
        async with asyncio.timeout(LATE_S):
            assert b" 200 " in await late.reader.readuntil(b"\r\n")
            assert await crowd[0].rest() == b""
        told = [line for line in served.said if "new connections have to wait" in line]
        assert len(told) == 1, served.said
        assert not [line for line in served.said if "Traceback" in line]


if sys.platform != "linux":
    pytest.skip("looks into /proc", allow_module_level=True)
