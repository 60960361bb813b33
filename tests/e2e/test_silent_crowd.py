"""Connections that say nothing, or a byte now and then, beside clients that count: those do not notice."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from e2e.raw import connect
from e2e.served import alive, serve

SERVERS = pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])


@asynccontextmanager
async def beside(url: str, silent: int, dribbling: int) -> AsyncIterator[None]:
    where = urlsplit(url)
    crowd = await asyncio.create_subprocess_exec(
        *(sys.executable, str(Path(__file__).with_name("idle_crowd.py"))),
        *(str(where.hostname), str(where.port), str(silent), str(dribbling)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert crowd.stdin is not None
    assert crowd.stdout is not None
    try:
        async with asyncio.timeout(30):
            assert await crowd.stdout.readline() == b"ready\n"
        yield
    finally:
        crowd.stdin.close()
        await crowd.wait()


async def p99_ms(url: str, clients: int, seconds: float) -> tuple[float, int]:
    """Count with so many clients for so long; every request must be answered. Returns the p99 and how many."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def good() -> None:
        async with connect(url) as connection:
            while (since := time.perf_counter()) < end:
                assert (await connection.ask("POST", "/counters/tickets/increment")).status == 200
                took.append(time.perf_counter() - since)
                await asyncio.sleep(0.02)  # a client that has other things to do, or we would measure ourselves

    await asyncio.gather(*(good() for _ in range(clients)))
    return 1000 * sorted(took)[int(0.99 * len(took))], len(took)


async def beside_a_crowd(server: str, silent: int, dribbling: int, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """In turns, without and with the crowd, for the machine has other things to do, too."""
    measured = []
    async with serve("--server", server) as served:
        await p99_ms(served.url, 32, 1.0)
        for _ in range(rounds):
            alone, _ = await p99_ms(served.url, 32, seconds)
            async with beside(served.url, silent, dribbling):
                crowded, n = await p99_ms(served.url, 32, seconds)
            measured.append({"alone": alone, "crowded": crowded, "requests": n})
        assert all(map(alive, served.workers))
    return measured


@SERVERS
async def test_good_clients_do_not_notice_some(server: str) -> None:
    """None of their requests fails; how fast they are is a matter of the long run."""
    measured = await beside_a_crowd(server, silent=150, dribbling=50, seconds=1.5, rounds=1)
    assert measured[0]["requests"] > 32


@SERVERS
@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_good_clients_do_not_notice_many(server: str) -> None:
    """The p99 at most doubles; the middle one of the rounds counts."""
    measured = await beside_a_crowd(server, silent=1000, dribbling=200, seconds=10.0, rounds=7)
    for number, one in enumerate(measured, 1):
        print(  # noqa: T201
            f"{server}, round {number}: p99 {one['alone']:.1f} ms alone, {one['crowded']:.1f} ms beside 1,000 silent "
            f"and 200 dribbling connections; {one['requests']:,} requests, none failed"
        )
    ratios = sorted(one["crowded"] / one["alone"] for one in measured)
    print(f"{server}: the middle of {len(ratios)} ratios is {ratios[len(ratios) // 2]:.2f}")  # noqa: T201
    assert ratios[len(ratios) // 2] <= 2.0, ratios
