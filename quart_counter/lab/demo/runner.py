"""The demo's own process: keeps two workers and a Redis ready, lets 100 clients loose when told to, and judges.

Orders come as lines of JSON on standard input and answers go as lines of JSON to standard output; when the input ends,
the server is gone, and so this ends too. A browser could not do it: it opens about six connections to one host.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Final

from quart_counter.errors import ConfigurationError
from quart_counter.extras import install
from quart_counter.lab import history, lanes, race
from quart_counter.lab.checker import check
from quart_counter.lab.demo import ways
from quart_counter.lab.demo.ways import Way
from quart_counter.lab.exhibits.side_by_side import base
from quart_counter.lab.history import Operation
from quart_counter.lab.race import load
from quart_counter.local.redis import private_redis
from quart_counter.settings import Settings, load_settings

PROCESSES: Final = 2
RACE_S: Final = 18.0
EVENINGS: Final = 5  # rounds of reopening
EVEN: Final = 0.2  # of the connections, the difference between the workers

Line = Mapping[str, Any]


def tell(line: Line) -> None:
    """Say a line to the server."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def run() -> None:
    """Get ready, then race whenever told to, until the server is gone."""
    async with AsyncExitStack() as stack:
        url, missing = _private_redis(stack)
        pair = await stack.enter_async_context(race.running(_settings(url)))
        tell({"ready": os.getpid(), "missing": missing})
        racing: asyncio.Task[None] | None = None
        async for order in _orders():
            racing = asyncio.create_task(_obey(order, pair.url))
        if racing is not None:
            racing.cancel()
            await asyncio.wait([racing])


def _private_redis(stack: AsyncExitStack) -> tuple[str, str]:
    """Start a Redis; return its URL, or none and what is missing."""
    if importlib.util.find_spec("redis") is None:
        return "", f"the package redis is missing: run {install('redis')}"
    try:
        return stack.enter_context(private_redis()).url, ""
    except ConfigurationError as error:
        return "", str(error)


def _settings(redis_url: str) -> Settings:
    mode = "redis" if redis_url else "lock"
    return load_settings(
        {}, mode=mode, url=redis_url or None, workers=PROCESSES, bind="127.0.0.1:0", force=True, lab=True, demo=True
    )


async def _orders() -> AsyncIterator[Line]:
    lines = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(lines)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await lines.readline():
        yield json.loads(line)


async def _obey(order: Line, pair_url: str) -> None:
    way = ways.find(order["way"])
    assert way is not None
    try:
        async with asyncio.timeout(RACE_S):
            row = await _race(way, order["url"] if way.workers == 1 else pair_url, order["clients"], order["gap_ms"])
        tell({"end": _result(way, row)})
    except TimeoutError:
        tell({"failed": f"the race took more than {RACE_S:g} seconds and was ended"})
    except ConfigurationError as error:
        tell({"failed": str(error)})
    except Exception as bug:  # whoever pressed the button waits for an answer
        tell({"failed": f"a bug in the demo ({bug!r})"})
        raise


async def _race(way: Way, url: str, clients: int, gap_ms: int) -> race.Row:
    """Let `clients` connect, then ask all at once, and tell each answer as it comes."""
    name, path = f"race-{secrets.token_hex(4)}", base(way.mode, gap_ms)
    target = load.Target(name, f"{path}/counters/{name}/increment", f"{path}/counters/{name}")
    pids: Counter[int] = Counter()
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(load.Caller(url, target, i)) for i in range(clients)]
        await _evenly(crowd, await load.spread(crowd, way.workers), way.workers)
        together = asyncio.Barrier(clients)
        tell({"go": clients})
        since = time.monotonic_ns()
        heard = _Heard(since, pids)
        operations = await asyncio.gather(*(_one(caller, together, heard) for caller in crowd))
        seconds = (time.monotonic_ns() - since) / 1e9
        last = await stack.enter_async_context(load.Caller(url, target, clients))
        operations.append(await last.read())
    busiest = history.max_in_flight(operations[:-1])
    entry = race.Entry(way.mode, way.workers)
    return race.Row(entry, {}, clients, clients, operations, check(operations), busiest, pids, seconds, {})


async def _evenly(crowd: Sequence[load.Caller], owners: list[int], workers: int) -> None:
    """Reopen connections until each worker has about its share: two processes counting apart are to be seen."""
    for _ in range(EVENINGS):
        (busiest, most), least = Counter(owners).most_common(1)[0], min(Counter(owners).values())
        if workers == 1 or most - least <= EVEN * len(crowd):
            return
        moving = [i for i, owner in enumerate(owners) if owner == busiest][: most - least]
        for i, owner in zip(moving, await asyncio.gather(*(crowd[i].connect(again=True) for i in moving)), strict=True):
            owners[i] = owner


async def _one(caller: load.Caller, together: asyncio.Barrier, heard: Callable[[Operation, int], None]) -> Operation:
    await together.wait()
    operation = await caller.add()
    heard(operation, caller.worker if caller.answered else 0)
    return operation


class _Heard:
    """Tells an answer: what number, from which worker, and when."""

    def __init__(self, since: int, pids: Counter[int]) -> None:
        self._since, self._pids = since, pids

    def __call__(self, operation: Operation, worker: int) -> None:
        if worker:
            self._pids[worker] += 1
        at_ms = round(((operation.ret or operation.call) - self._since) / 1e6, 1)
        tell({"answer": {"value": operation.value, "worker": worker, "outcome": operation.outcome, "at_ms": at_ms}})


# The checker calls a caller a process, as the field does; on this page processes are what serves them. Versions tell
# nothing more here: every client adds 1.
_VERSION: Final = re.compile(r" \(version \d+\)")


def _result(way: Way, row: race.Row) -> Line:
    numbers = [op.value for op in row.operations[:-1] if op.outcome == "ok" and op.value is not None]
    final = row.operations[-1].value
    return {
        "verdict": row.verdict,
        "lines": [ways.observed(row.verdict, row.clients, numbers, final), ways.why(way, row.verdict)],
        "because": _VERSION.sub("", row.judged.reason).replace("process ", "client "),
        "lanes": lanes.draw([op._replace(version=None) for op in row.judged.witness], "client"),
        "final": final,
        "ms": round(row.seconds * 1000),
        "max_in_flight": row.max_in_flight,
    }


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(run())
