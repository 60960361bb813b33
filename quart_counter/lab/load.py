"""Fires many HTTP clients at one counter, all at once, and records every answer. The only room that knows httpx."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

import httpx

from quart_counter.lab import steps
from quart_counter.lab.history import Operation
from quart_counter.lab.witness import WORKER

TIMEOUT_S: Final = 60.0  # generous: behind a lock that pauses 20 ms, the last of 1,000 clients waits 20 s
REOPENINGS: Final = 40  # rounds; each worker takes about half of what is reopened
ENOUGH: Final = 0.10  # of the connections, for each worker; two asyncio workers split 100 as unevenly as 83 to 17

# One for all clients: making one costs more than a request, and none of them speaks TLS.
_NO_TLS = ssl.create_default_context()


@dataclass
class Volley:
    """What came of it: the recorded calls, who answered how often, and what the handlers told of their steps."""

    operations: list[Operation] = field(default_factory=list)
    pids: Counter[int] = field(default_factory=Counter)
    steps: dict[int, Sequence[steps.Step]] = field(default_factory=dict)
    seconds: float = 0.0


async def fire(
    url: str, name: str, *, clients: int, requests: int, workers: int, heard: Callable[[Operation], None]
) -> Volley:
    """Let `clients` connect, then send `requests` increments in all at once, then read the counter.

    `heard` is told each operation as it ends. A client keeps its connection, so a worker is only as busy as it has
    connections: they are reopened until every worker has its share.
    """
    volley = Volley()
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(_client(url)) for _ in range(clients)]
        await _spread(crowd, workers)
        together = asyncio.Barrier(clients)
        shares = [requests // clients + (i < requests % clients) for i in range(clients)]
        start = time.perf_counter()
        await asyncio.gather(
            *(
                _row(client, process, name, share, together, volley, heard)
                for process, (client, share) in enumerate(zip(crowd, shares, strict=True))
            )
        )
        volley.seconds = time.perf_counter() - start
        volley.operations.append(await _read(crowd[0], clients, name))
    return volley


def _client(url: str) -> httpx.AsyncClient:
    only_one = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    return httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=only_one, verify=_NO_TLS, trust_env=False)


async def _spread(crowd: Sequence[httpx.AsyncClient], workers: int) -> None:
    """Connect all, then reopen the connections of the busiest worker until each has enough of them."""
    owners = list(await asyncio.gather(*map(_connect, crowd)))
    for _ in range(REOPENINGS):
        shares = Counter(owners)
        if len(shares) == workers and min(shares.values()) >= ENOUGH * len(crowd):
            return
        busiest = shares.most_common(1)[0][0]
        moving = [i for i, owner in enumerate(owners) if owner == busiest][::2]
        moved = await asyncio.gather(*(_connect(crowd[i], again=True) for i in moving))
        for i, owner in zip(moving, moved, strict=True):
            owners[i] = owner


async def _connect(client: httpx.AsyncClient, again: bool = False) -> int:
    if again:
        await client.get("/healthz", headers={"Connection": "close"})
    answer = await client.get("/healthz")
    return int(answer.headers.get(WORKER, 0))


async def _row(
    client: httpx.AsyncClient,
    process: int,
    name: str,
    share: int,
    together: asyncio.Barrier,
    volley: Volley,
    heard: Callable[[Operation], None],
) -> None:
    await together.wait()
    for _ in range(share):
        operation, answer = await _increment(client, process, name)
        if answer is not None:
            volley.pids[int(answer.headers.get(WORKER, 0))] += 1
            volley.steps[len(volley.operations)] = steps.parse(answer.headers.get(steps.HEADER, ""))
        volley.operations.append(operation)
        heard(operation)


async def _increment(client: httpx.AsyncClient, process: int, name: str) -> tuple[Operation, httpx.Response | None]:
    call = time.monotonic_ns()
    try:
        answer = await client.post(f"/counters/{name}/increment")
    except httpx.TransportError as error:
        outcome = "fail" if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) else "info"
        return Operation(process, "add", name, 1, None, None, call, time.monotonic_ns(), outcome), None
    ret = time.monotonic_ns()
    outcome = _outcome(answer.status_code)
    if outcome != "ok":
        refused = answer.status_code in (409, 412)
        return Operation(process, "add", name, 1, None, None, call, ret, outcome, refused), answer
    told = answer.json()
    return (
        Operation(process, "add", name, 1, None, None, call, ret, "ok", False, told["value"], told["version"]),
        answer,
    )


def _outcome(status: int) -> str:
    if status == 200:
        return "ok"
    return "fail" if status < 500 or status == 503 else "info"


async def _read(client: httpx.AsyncClient, process: int, name: str) -> Operation:
    call = time.monotonic_ns()
    told = (await client.get(f"/counters/{name}")).raise_for_status().json()
    ret = time.monotonic_ns()
    return Operation(process, "read", name, 0, None, None, call, ret, "ok", False, told["value"], told["version"])
