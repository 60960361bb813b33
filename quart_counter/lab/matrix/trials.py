"""The experiments behind the cells of `matrix`: each asks the running service one question and believes its answers.

All but one are judged by the checker: one client, or a few, call the service while something happens to it, and the
number survived if there is an order that explains every answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from http.cookiejar import CookieJar
from typing import Any, Final, Literal

from quart_counter.lab import race
from quart_counter.lab.backends import BAD_LINES
from quart_counter.lab.checker import check
from quart_counter.lab.history import Operation
from quart_counter.lab.matrix.house import House
from quart_counter.lab.race import load
from quart_counter.settings.modes import MODES

SOME: Final = 3
CROWD: Final = 10
PAUSE_S: Final = 0.02

Sharing = Literal["request", "client", "process", "processes"]


async def shared_by(house: House) -> Sharing:
    """Two clients on two workers add in turn, never together: who sees whose number? Needs two workers."""
    ours, theirs = CookieJar(), CookieJar()
    async with AsyncExitStack() as stack:
        aim = target(house, "each")
        crowd = [load.Caller(house.service.url, aim, i, ours) for i in range(3)]
        for caller in crowd:
            await stack.enter_async_context(caller)
        owners = await load.spread(crowd, 2)
        here = [i for i, owner in enumerate(owners) if owners.count(owner) == 2]
        elsewhere = next(i for i in range(3) if i not in here)
        first, second = await crowd[here[0]].add(), await crowd[here[0]].add()
        if first.value == second.value:
            return "request"
        crowd[here[1]].become(theirs)
        third = await crowd[here[1]].add()
        if third.value == first.value:
            return "client"
        return "process" if (await crowd[elsewhere].add()).value == first.value else "processes"


async def right(house: House, workers: int, *, clients: int, requests: int) -> str:
    """Race it and return the label; a number for each client is raced by one client that is in many places."""
    entry = race.Entry(house.mode, workers, one_client=MODES[house.mode].per_client)
    if house.mode in BAD_LINES:  # its service must reach the store by that line
        return (await race.run(entry, url=house.backend.url, clients=clients, requests=requests)).verdict
    return (await race.against(house.service, entry, clients=clients, requests=requests)).verdict


async def survives(house: House, blow: Callable[[], Awaitable[None]]) -> bool | None:
    """Add before, during (if the step is atomic) and after `blow`, with one client; whether every answered number still
    counts in the end."""
    async with load.Caller(house.service.url, target(house, "each")) as caller:
        history = [await caller.add() for _ in range(SOME)]
        if house.promises["atomic"]:
            during = asyncio.create_task(caller.add())
            await asyncio.sleep(0)  # so that it is under way
            await blow()
            history.append(await _unless_down(house, during))
        else:  # a handler that GETs before the blow and SETs after it would carry the number across in its own hands
            await blow()
        for _ in range(SOME):
            history += await _until_answered(house, caller)
        history.append(await caller.read())
    return _valid(history) if house.promises["atomic"] else kept(history)


def kept(history: Sequence[Operation]) -> bool:
    """Whether nothing answered was lost. More may have been counted: `redis-retry` does so when a kill takes a reply,
    and that is its own fault, not that of what it survives."""
    anomalies = check(history).anomalies
    return not any(anomalies[one] for one in ("duplicate", "lost", "out_of_order", "stale"))


async def _until_answered(house: House, caller: load.Caller) -> Sequence[Operation]:
    """Add until it is answered, whatever that takes of the service; tell every attempt."""
    attempts: list[Operation] = []
    while not attempts or attempts[-1].outcome != "ok":
        if house.is_down:
            await house.mend()
        await caller.move(house.service.url)
        attempts.append(await _unless_down(house, asyncio.create_task(caller.add())))
        if attempts[-1].outcome != "ok":
            await asyncio.sleep(PAUSE_S)
    return attempts


async def _unless_down(house: House, adding: asyncio.Task[Operation]) -> Operation:
    """Wait for the answer; if the service ends first, nobody is there to give one until the socket is closed."""
    waiting: set[asyncio.Future[Any]] = {adding, house.service.ended}
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if not adding.done():
        await house.mend()
    return await adding


async def counts_once(house: House) -> bool | None:
    """Send a key, something else, the key again; then a key from many at once; whether each key counted once. A mode
    that refuses keys leaves its clients nothing but to send again without, which counts again."""
    jar = CookieJar()
    async with AsyncExitStack() as stack:
        aim = target(house, "one")
        crowd = [load.Caller(house.service.url, aim, i, jar) for i in range(CROWD)]
        for caller in crowd:
            await stack.enter_async_context(caller)
        if aim.who == "one":
            await crowd[0].reset()
        again, together = secrets.token_hex(8), secrets.token_hex(8)
        history = [await crowd[0].add(again), await crowd[1].add(), await crowd[2].add(again)]
        if history[0].outcome == history[2].outcome == "fail":
            return False
        history += await asyncio.gather(*(caller.add(together) for caller in crowd))
        history += [await crowd[0].add(), await crowd[1].read()]
    return _valid(history)


def target(house: House, who: Literal["each", "one"]) -> load.Target:
    """What to call: a client's own number, or a counter nobody has touched."""
    if MODES[house.mode].per_client:
        return load.session(who)
    return load.counter(f"trial-{secrets.token_hex(4)}")


def _valid(history: Sequence[Operation]) -> bool | None:
    return {"valid": True, "invalid": False, "unknown": None}[check(history).verdict]
