"""Lets the increments of one name that wait at the same time share one request."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Final

from quart_counter.client.flights import Ask, Claim, Delivery, Folded, Number, reading
from quart_counter.client.sending import Sender
from quart_counter.counters.combiner import Combiner
from quart_counter.model import Applied, NotApplied, OutcomeUnknown, Refused

MAX_SHARE: Final = 4096  # callers in one request: to the service it is one change, however many they are


class Lane:
    """The increments of one name; here while anybody uses it. All its asks wait equally long, so one timer serves."""

    def __init__(self, combiner: Combiner[Ask, Number]) -> None:
        self.combiner, self.users = combiner, 0
        self._asks: deque[Ask] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def submit(self, ask: Ask) -> asyncio.Future[Number]:
        """Queue `ask`, to be answered at its deadline at the latest."""
        asks = self._asks
        while asks and asks[0].future.done():
            asks.popleft()
        asks.append(ask)
        ask.future = self.combiner.submit(ask)
        if self._timer is None:
            self._watch()
        return ask.future

    def close(self) -> None:
        """Stop the timer: nobody waits any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _watch(self) -> None:
        self._timer = asyncio.get_running_loop().call_at(self._asks[0].due, self._ring)

    def _ring(self) -> None:
        now, asks, self._timer = asyncio.get_running_loop().time(), self._asks, None
        while asks and (asks[0].future.done() or asks[0].due <= now):
            asks.popleft().give_up()
        if asks:
            self._watch()


class Folder:
    """A lane a name that is being incremented: one request of each is out at once."""

    def __init__(self, sender: Sender, deadline_s: float) -> None:
        self._sender, self._deadline_s = sender, deadline_s
        self._lanes: dict[str, Lane] = {}

    async def drain(self) -> None:
        """Wait until all increments given so far are answered, also those whose caller went away."""
        while self._lanes:
            await asyncio.gather(*(lane.combiner.aclose() for lane in self._lanes.values()))
            await asyncio.sleep(0)  # let the callers that were just answered leave their lanes

    async def increment(self, name: str) -> int:
        """Add 1 and return the new value."""
        self._sender.check_open()
        ask = Ask(asyncio.get_running_loop().time() + self._deadline_s)
        lane = self._lane(name)
        lane.users += 1
        try:
            number = await lane.submit(ask)
        finally:
            self._leave(name, lane)
        if isinstance(number, int):
            return number
        return reading(ask.claim(name), number).value

    def _lane(self, name: str) -> Lane:
        lane = self._lanes.get(name)
        if lane is None:
            combiner = Combiner(
                partial(self._flush, name),
                expired=_expired,
                failed=_failed,
                deadline_s=math.inf,
                max_batch=MAX_SHARE,
            )
            lane = self._lanes[name] = Lane(combiner)
        return lane

    def _leave(self, name: str, lane: Lane) -> None:
        lane.users -= 1
        if not lane.users:
            lane.close()
            del self._lanes[name]

    async def _flush(self, name: str, asks: Sequence[Ask]) -> Sequence[Number]:
        """Send the increments that wait for `name` as one request, and give each its share of the answer."""
        lane = self._lane(name)
        lane.users += 1  # its callers may all be cancelled, and aclose must still find it
        try:
            flight = Folded(name, asks)
            outcome = flight.outcome(await self._sender.fly(flight))
            if isinstance(outcome, Refused) and len(flight.asks) > 1:
                return await asyncio.gather(*map(self._alone, asks))
            return flight.numbers(asks, outcome)
        finally:
            self._leave(name, lane)

    async def _alone(self, ask: Ask) -> Number:
        """Send one increment of a request that was refused as a whole: there may be room for some of it."""
        if ask.future.done() or ask.flight is None:
            return NotApplied("the caller left")
        claim = Claim(ask.flight.change, ask.place).alone()
        ask.flight, ask.place = Delivery(claim.change, ask.due), None
        outcome = ask.flight.outcome(await self._sender.fly(ask.flight))
        return outcome.value if isinstance(outcome, Applied) else outcome


def _expired(ask: Ask) -> Number:
    return NotApplied("the client was stopped before it was sent")


def _failed(ask: Ask, error: BaseException) -> Number:
    return OutcomeUnknown(f"the client failed in the middle of it ({type(error).__name__})")
