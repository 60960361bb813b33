"""Sends flights until they are answered: tries, pauses, deadlines, and a bound on what is out at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from quart_counter import errors
from quart_counter.client.flights import Delivery, Flight
from quart_counter.client.wire import FINAL, Try, Wire, trouble_with_key
from quart_counter.model import Outcome

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0
TRIES: Final = 3  # that fit into a deadline, at least, when each of them meets silence
LONGEST_TRY_S: Final = 6.0  # the service gives up after 5 s itself, and what it says then is worth hearing
_BUSY: Final = Try("not_applied", because="all connections of the client were busy")

Returned = TypeVar("Returned")


class Sender:
    """At most `slots` tries are out at once; `deadline_s` sets how long one of them may take."""

    def __init__(self, new_wire: Callable[[], Wire], *, slots: int, deadline_s: float) -> None:
        self._new_wire, self._deadline_s = new_wire, deadline_s
        self._wire: Wire
        self._taking = False
        self._shortest_try_s = deadline_s / 20  # one cut off at the deadline would only bring doubt
        self._slots = asyncio.Semaphore(slots)
        self._flights: set[asyncio.Task[Any]] = set()
        self._exchanges: set[asyncio.Task[Any]] = set()

    def open(self) -> None:
        """Start taking flights."""
        self._wire, self._taking = self._new_wire(), True

    def check_open(self) -> None:
        """Raise ConfigurationError unless it takes flights."""
        if not self._taking:
            raise errors.ConfigurationError("the client is not open: use it inside `async with CounterClient(...)`")

    def refuse(self) -> None:
        """Take no more flights; those under way go on."""
        self._taking = False

    async def aclose(self) -> None:
        """Wait until the flights are over, then close the connections; tries that nobody waits for any more fail."""
        while self._flights:
            await asyncio.wait(self._flights)
        await self._wire.aclose()
        if self._exchanges:
            await asyncio.wait(self._exchanges)

    async def outcome(self, flight: Delivery) -> Outcome:
        """See a change through in a task of its own, and say what became of it. Raises `InvalidKey` when the service
        will not take its key, so that nothing is known of whatever had this key before; a key in doubt is unknown."""
        tried = await self.start(flight)
        reason = trouble_with_key(tried.document)
        if tried.standing == "declined" and reason and not flight.in_doubt:
            raise errors.InvalidKey(str(tried.document.get("detail", tried.because)), reason=reason)
        return flight.outcome(tried)

    async def start(self, flight: Flight) -> Try:
        """See a flight through in a task of its own: its caller may be cancelled, the step with the effect is not."""
        self.check_open()
        return await asyncio.shield(_keep(self.fly(flight), self._flights))

    async def fly(self, flight: Flight) -> Try:
        """Try until there is a final answer, or no time for another try; return the last."""
        loop = asyncio.get_running_loop()
        tried, pause_s = _BUSY, min(FIRST_PAUSE_S, self._deadline_s / 20)
        while await self._free_slot(flight):
            tried = await self._try(flight)
            if tried.standing in FINAL:
                break
            flight.in_doubt = flight.in_doubt or tried.standing == "in_doubt"
            wait_s = max(tried.wait_s, random.uniform(pause_s / 2, pause_s))
            if loop.time() + wait_s + self._shortest_try_s >= flight.due:
                break
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S, self._deadline_s / 10)
        return tried

    async def _free_slot(self, flight: Flight) -> bool:
        """Wait for a connection; False when there is none in time, or when nobody wants the flight any more."""
        try:
            async with asyncio.timeout_at(flight.due):
                await self._slots.acquire()
        except TimeoutError:
            return False
        if flight.goes_on():
            return True
        self._slots.release()
        return False

    async def _try(self, flight: Flight) -> Try:
        """Try once, in a slot that was acquired. An exchange that takes too long keeps its slot until it ends."""
        patience_s = min(flight.due - asyncio.get_running_loop().time(), self._deadline_s / TRIES, LONGEST_TRY_S)
        # httpx hears of less time than we wait, so that its own word on how it ended reaches us
        exchange = _keep(self._wire.exchange(flight.call, 0.9 * patience_s), self._exchanges)
        exchange.add_done_callback(lambda _: self._slots.release())
        flight.under_way = True
        try:
            await asyncio.wait([exchange], timeout=patience_s)
        finally:
            flight.under_way = False
        return exchange.result() if exchange.done() else Try("in_doubt", because="the service was too slow to answer")


def _keep(work: Coroutine[Any, Any, Returned], kept: set[asyncio.Task[Any]]) -> asyncio.Task[Returned]:
    """Start `work` as a task, referenced until it is done."""
    task = asyncio.get_running_loop().create_task(work)
    kept.add(task)
    task.add_done_callback(kept.discard)
    return task
