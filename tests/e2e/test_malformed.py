"""Whatever is sent to it: no bug, no dead worker, no connection that hangs, no memory that goes away."""

import asyncio
import os
import re
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from e2e.malformed import malformed
from e2e.raw import ask, connect
from e2e.served import Served, alive, serve

SEED = 1
AT_ONCE = 32
SILENT_S = 0.3  # after so long most clients have given up what they began
LONGEST_S = 10.0
SERVERS = pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])


async def attack(url: str, data: bytes, silent_s: float = SILENT_S) -> tuple[Counter[int], bool]:
    """Send it, and hear what comes: the statuses, and whether the connection was closed then."""
    said = b""
    async with connect(url) as connection:
        with suppress(ConnectionError):
            await connection.send(data)
            with suppress(TimeoutError):
                while piece := await asyncio.wait_for(connection.reader.read(65_536), silent_s):
                    said += piece
                return _statuses(said), True
            return _statuses(said), False
    return _statuses(said), True


def _statuses(said: bytes) -> Counter[int]:
    return Counter(map(int, re.findall(rb"HTTP/1\.1 (\d{3})", said)))


async def attacked(served: Served, n: int) -> Counter[int]:
    """Send n malformed requests, AT_ONCE at a time."""
    requests = malformed(SEED, n)
    seen: Counter[int] = Counter()

    async def attacker() -> None:
        for data in requests:
            seen.update((await attack(served.url, data))[0])

    await asyncio.gather(*(attacker() for _ in range(AT_ONCE)))
    return seen


async def assert_none_hangs(served: Served, n: int) -> None:
    """A connection that never got an answer is closed in time."""
    requests = [data for data in malformed(SEED, n) if data]
    kept = await asyncio.gather(*(attack(served.url, data, LONGEST_S) for data in requests))
    hanging = [data[:300] for data, (seen, closed) in zip(requests, kept, strict=True) if not (closed or seen)]
    assert hanging == []


def memory_kib(served: Served) -> int:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4 for pid in served.workers)


def assert_unharmed(served: Served, seen: Counter[int]) -> None:
    allowed = {501, 505}  # a coding or a protocol that is not known here
    assert [status for status in seen if status >= 500 and status not in allowed] == [], seen
    assert all(map(alive, served.workers))
    said = "\n".join(served.said)
    assert "Traceback" not in said, said
    assert "replacing it" not in said, said


@SERVERS
async def test_malformed_requests_do_no_harm(server: str) -> None:
    """Some of each kind, and all the nasty ones."""
    async with serve("--workers", "1", "--server", server) as served:
        seen = await attacked(served, 400)
        assert_unharmed(served, seen)
        assert (await ask(served.url, "GET", "/healthz")).status == 200


@SERVERS
@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_ten_thousand_malformed_requests_do_no_harm(server: str) -> None:
    """Memory is looked at after the first thousand and at the end."""
    n = int(os.environ.get("QUART_COUNTER_MALFORMED", "10000"))
    async with serve("--with-redis", "--workers", "2", "--server", server) as served:
        await attacked(served, 1000)
        before = memory_kib(served)
        seen = await attacked(served, n)
        after = memory_kib(served)
        print(f"{server}: {n} malformed requests, answers {dict(sorted(seen.items()))}")  # noqa: T201
        print(f"{server}: memory of the workers {before} KiB after the first 1000, {after} KiB at the end")  # noqa: T201
        assert_unharmed(served, seen)
        assert after < 1.1 * before
        await assert_none_hangs(served, 500)
