"""Live numbers of the real service: several workers tell the same, and a signal ends every stream at once."""

import asyncio
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.events import stream
from e2e.raw import ask, connect
from e2e.served import alive, serve
from quart_counter.access.tokens import new_token
from quart_counter.local.process import LocalServer


async def test_streams_of_several_workers_tell_the_same_number(redis_server: LocalServer) -> None:
    async with serve("--mode", "redis", "--url", redis_server.url, "--workers", "2") as served:
        async with asyncio.TaskGroup() as group, connect(served.url) as connection:
            seen = [group.create_task(_until(served.url)) for _ in range(8)]
            await asyncio.sleep(0.2)
            reply = await connection.ask(
                "PUT", "/counters/visits", [("Content-Type", "application/json")], b'{"value": 4711}'
            )
            assert reply.status == 200
        assert {task.result() for task in seen} == {4711}


async def _until(url: str) -> int:
    async with stream(url) as told:
        while (value := (await told.next()).json["value"]) != 4711:
            pass
        return int(value)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_open_streams_do_not_keep_it_from_stopping(how: signal.Signals) -> None:
    async with serve() as served, stream(served.url) as told, stream(served.url) as another:
        await told.next()
        since = time.monotonic()
        served.signal(how)
        await told.end()
        await another.end()
        assert time.monotonic() - since < 2
        assert await served.status() == 0
        assert time.monotonic() - since < 5
        assert not any(map(alive, served.workers))


@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
async def test_a_stream_ends_when_its_token_is_revoked_or_its_time_is_over(tmp_path: Path, server: str) -> None:
    """And tells nothing any more: what another counts afterwards is nobody's business who has no token."""
    (admins, admin), (mine, my), (short, shorter) = (new_token([scope]) for scope in ("admin", "read", "read"))
    brief = replace(shorter, expires=int(time.time()) + 5.0)
    file = tmp_path / "tokens"
    file.write_text("\n".join(one.line() for one in (admin, my, brief)))
    async with (
        serve("--server", server, "--tokens", str(file)) as served,
        stream(served.url, headers=bearer(admins)) as stays,
        stream(served.url, headers=bearer(mine)) as revoked,
        stream(served.url, headers=bearer(short)) as expires,
    ):
        for told in (stays, revoked, expires):
            assert (await told.next()).json["value"] == 0
        assert await expires.end() == []
        assert time.time() >= brief.expires
        file.write_text(admin.line())
        assert await revoked.end() == []
        await ask(served.url, "POST", "/counters/visits/increment", bearer(admins))
        assert (await stays.next()).json["value"] == 1


def bearer(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


async def test_a_client_that_does_not_read_is_no_obstacle_either() -> None:
    async with serve() as served, stream(served.url):
        await ask(served.url, "POST", "/counters/visits/increment")
        served.signal(signal.SIGINT)
        assert await served.status() == 0
