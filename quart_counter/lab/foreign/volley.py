"""Lets all requests go together, wave after wave, and records what came of each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from quart_counter.lab.foreign.answers import Answer, Extractor
from quart_counter.lab.foreign.client import Client, Lost, NotSent
from quart_counter.lab.history import Operation

PATIENCE_S: Final = 5.0  # a server with a short backlog takes no more until it has answered: then go without the rest
NO_NUMBER: Final = "no number in an answer"
SETTLE_S: Final = 0.05  # for the server to accept what is new, and to put a thread at the end of it
STALL_S: Final = 1.0  # a server that serves one connection at a time waits for us to hang up


@dataclass
class Volley:
    """What came of it so far: operations, why some have no number, and how long the waves took from go to end."""

    name: str
    extractor: Extractor
    timeout_s: float
    heard: Callable[[Operation], None] = lambda operation: None
    operations: list[Operation] = field(default_factory=list)
    troubles: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    keep_alive: bool = True
    asked_on: int = 0

    def note(self, process: int, call: int, outcome: str, value: int | None = None, trouble: str = "") -> Operation:
        """Record one add that ends now."""
        ret = time.monotonic_ns()
        operation = Operation(process, "add", self.name, 1, None, None, call, ret, outcome, False, value)
        self.operations.append(operation)
        if trouble:
            self.troubles[trouble] += 1
        self.heard(operation)
        return operation

    def judge(self, process: int, call: int, answer: Answer) -> Operation:
        """Record an answer: what it means for the number that was asked for."""
        outcome = outcome_of(answer.status)
        value = self.extractor.number(answer) if outcome == "ok" else None
        if outcome == "ok" and value is None:
            return self.note(process, call, "info", None, f"{NO_NUMBER} ({answer.title})")
        return self.note(process, call, outcome, value, "" if outcome == "ok" else answer.title)


def outcome_of(status: int) -> str:
    """Return what a status says of the effect.

    4xx had none. A redirect that keeps the method (307, 308) had none yet; 303 and its like may have counted first.
    """
    if 200 <= status < 300:
        return "ok"
    return "fail" if 400 <= status < 500 or status in (304, 307, 308) else "info"


class Gate:
    """Where clients wait for each other: all who stand here go in one sweep; who comes later finds it open."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self._standing: list[tuple[Client, asyncio.Future[int]]] = []
        self._open = False
        self._complete = asyncio.Event()
        self.fresh = False

    def count(self) -> None:
        """Know of one more that is here, or will not come."""
        self._missing -= 1
        if self._missing <= 0:
            self._complete.set()

    def stand(self, client: Client) -> asyncio.Future[int]:
        """Take a place; the future tells when the client went, to the nanosecond."""
        went: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._standing.append((client, went))
        self.count()
        if self._open:
            self._sweep()
        return went

    async def open(self) -> None:
        """Wait for all, but not for ever, and let them go: no await between the first and the last."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._complete.wait()
        except TimeoutError:
            pass
        if self.fresh:
            await asyncio.sleep(SETTLE_S)
        self._open = True
        self._sweep()

    def _sweep(self) -> None:
        standing, self._standing = self._standing, []
        for client, went in standing:
            if not went.done():
                call = time.monotonic_ns()
                client.go()
                went.set_result(call)


async def fire(volley: Volley, crowd: Sequence[Client], requests: int) -> None:
    """Send `requests` in all, as many at once as there are clients; operations are in `volley` as soon as they end."""
    shares = [requests // len(crowd) + (i < requests % len(crowd)) for i in range(len(crowd))]
    for wave in range(max(shares)):
        going = [(i, client) for i, client in enumerate(crowd) if wave < shares[i]]
        await _wave(volley, going, last=[wave == shares[i] - 1 or not volley.keep_alive for i, _ in going])


async def again(volley: Volley, crowd: Sequence[Client], chosen: Collection[int]) -> None:
    """One more request of each of these, on the connection that it has if it has one; it is kept."""
    await _wave(volley, [(i, crowd[i]) for i in chosen], [not volley.keep_alive] * len(chosen))


async def _wave(volley: Volley, going: Sequence[tuple[int, Client]], last: Sequence[bool]) -> None:
    gate = Gate(len(going))
    turns = {
        asyncio.create_task(turn(volley, i, client, gate, last=ends)): client
        for (i, client), ends in zip(going, last, strict=True)
    }
    try:
        await gate.open()
        start = time.perf_counter()
        await _all_answered(volley, turns)
        volley.seconds += time.perf_counter() - start
    finally:
        for task in turns:
            task.cancel()
        await asyncio.gather(*turns, return_exceptions=True)
    for task in turns:
        task.result()


async def _all_answered(volley: Volley, turns: Mapping[asyncio.Task[Operation], Client]) -> None:
    """Wait for all. Who was answered keeps the connection, unless others then wait in vain."""
    answered, waiting = await asyncio.wait(turns, timeout=STALL_S)
    while waiting:
        volley.keep_alive = False
        for task in answered:
            turns[task].hang_up()
        answered, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


async def turn(volley: Volley, process: int, client: Client, gate: Gate, *, last: bool) -> Operation:
    """One request of one client, through the gate; whatever happens is the operation's outcome."""
    try:
        gate.fresh |= await _ready(client, volley.timeout_s, last=last)
    except NotSent as error:
        gate.count()
        return volley.note(process, time.monotonic_ns(), "fail", None, str(error))
    went = gate.stand(client)
    try:
        call = await went
        return volley.judge(process, call, await _answer(client, volley.timeout_s))
    except NotSent as error:
        return volley.note(process, call, "fail", None, str(error))
    except Lost as error:
        return volley.note(process, call, "info", None, str(error))
    except asyncio.CancelledError:
        if not went.cancelled():
            volley.note(process, went.result(), "info", None, "interrupted")
        raise


async def ask(client: Client, timeout_s: float) -> tuple[int, Answer]:
    """One request by itself: when it went, and what was answered. Raises: NotSent, Lost."""
    await _ready(client, timeout_s, last=True)
    call = time.monotonic_ns()
    client.go()
    return call, await _answer(client, timeout_s)


async def _ready(client: Client, timeout_s: float, *, last: bool) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            return await client.ready(last=last)
    except TimeoutError:
        client.hang_up()
        raise NotSent(f"not connected within {timeout_s:g} s") from None


async def _answer(client: Client, timeout_s: float) -> Answer:
    try:
        async with asyncio.timeout(timeout_s):
            return await client.answer()
    except TimeoutError:
        client.hang_up()
        raise Lost(f"no answer within {timeout_s:g} s") from None
