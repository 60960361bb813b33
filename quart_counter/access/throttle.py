"""So many requests in so many seconds for each client, over all workers: kept in the store, in counters of our own.

A client has a bucket of `limit` requests that fills up again at `limit` in `window_s` seconds. All of it is one number,
the moment at which the bucket is full again (GCRA), so it is one counter; whoever lets requests through sets it further
ahead, if it is still at the version it was seen at. So 20 requests at once through 1/10s are one, in every store.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from quart_counter.access.rates import Rate
from quart_counter.counters import Counters
from quart_counter.errors import StoreAway
from quart_counter.model import RESERVED, Applied, Change, Outcome, OutcomeUnknown, Reading, Refused

PREFIX: Final = f"{RESERVED}limit."
MOST: Final = 10_000  # clients that a worker knows at a time; one that is dropped is looked up in the store again
SHARE: Final = 16  # a worker takes this part of what is there at once, so that most requests need no trip
PATIENCE_S: Final = 1.0  # how long a request waits for the store to say
ALONE_S: Final = 2.0  # how long a worker counts by itself after the store did not answer
SWEEP: Final = 500  # names looked at in one go
SWEEP_S: Final = 60.0
SECOND: Final = 1_000_000  # of the moments in the store, which are microseconds since the epoch


class Bucket:
    """What a worker knows of one client's bucket."""

    def __init__(self, name: str, rate: Rate) -> None:
        self.name = name
        # How much later it is full again for each request, rounded up; and in how long all of it is.
        self.each = -(-rate.window_s * SECOND // rate.limit)
        self.window = self.each * rate.limit
        self.seen = Reading()
        self.in_hand = 0  # requests that the store gave to this worker, and when that is too long ago to use them
        self.in_hand_until = 0
        self.empty_until = 0
        self.full_alone = 0  # the same number as in the store, for the time that it is away
        self.lock = asyncio.Lock()

    def step(self, full_at: int, now: int) -> tuple[int, int]:
        """Return how many requests to take at once, 0 for none, and the moment to set for that."""
        full_at = max(full_at, now)
        there = (now + self.window - full_at) // self.each
        some = min(there, max(1, there // SHARE))
        return some, full_at + some * self.each


class Throttle:
    """Lets through what clients have in their buckets, and no more, whatever number of workers they ask.

    What a worker takes and does not use in time is lost, never given out twice. While the store is away each worker
    counts by itself. Right while the workers' clocks agree.
    """

    def __init__(self, counters: Counters, now_s: Callable[[], float] = time.time) -> None:
        # The methods as they are now, before anybody counts what clients do: these are no clients' changes.
        self._apply, self._look_at = counters.apply, counters.look_at
        self._names, self._forget = counters.names, counters.forget
        self._now_s = now_s
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._alone_until = 0

    async def wait_s(self, policy: str, client: str, rate: Rate) -> float:
        """Count a request, and return 0; or return how many seconds it has to wait, and count nothing."""
        bucket = self._bucket(f"{policy} {rate} {client}", rate)
        wait = self._at_once(bucket)
        if wait is None:
            async with bucket.lock:
                wait = self._at_once(bucket)  # who had the lock before may have taken some for us
                if wait is None:
                    wait = await self._take(bucket)
        return wait / SECOND

    def _now(self) -> int:
        return int(self._now_s() * SECOND)

    def _bucket(self, who: str, rate: Rate) -> Bucket:
        bucket = self._buckets.get(who)
        if bucket is None:
            name = PREFIX + hashlib.blake2b(who.encode(), digest_size=16).hexdigest()
            bucket = self._buckets[who] = Bucket(name, rate)
            if len(self._buckets) > MOST:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(who)
        return bucket

    def _at_once(self, bucket: Bucket) -> int | None:
        """Return how long to wait, if that is known without a trip. No await here, so nobody takes the same one."""
        now = self._now()
        if now < bucket.empty_until:
            return bucket.empty_until - now
        if bucket.in_hand and now < bucket.in_hand_until:
            bucket.in_hand -= 1
            return 0
        return self._alone(bucket, now) if now < self._alone_until else None

    async def _take(self, bucket: Bucket) -> int:
        """Take some requests from the store, use one and keep the others in hand."""
        while True:
            now = self._now()
            before = max(bucket.seen.value, bucket.full_alone)  # what was counted alone, the store hears of now
            some, full_at = bucket.step(before, now)
            if not some:
                bucket.empty_until = before + bucket.each - bucket.window
                return bucket.empty_until - now
            if finding_out := self._alone_until > 0:  # whether it is back: nobody else waits for that meanwhile
                self._be_alone(PATIENCE_S)
                bucket.full_alone = full_at  # nor takes what this one asks for
            match await self._ask(Change(bucket.name, value=full_at, if_version=bucket.seen.version)):
                case Applied(value, version):
                    bucket.seen = Reading(value, version)
                    bucket.in_hand, bucket.in_hand_until = some - 1, now + bucket.window // SHARE
                    return 0
                case Refused("version", value, version):  # another worker was here; this is what it left
                    bucket.seen = Reading(value, version)
                case _:
                    self._be_alone(ALONE_S)
                    return 0 if finding_out else self._alone(bucket, self._now())

    async def _ask(self, change: Change) -> Outcome:
        """Ask the store, which is back if it answers."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                outcome = await self._apply(change)
        except TimeoutError:
            return OutcomeUnknown("the store did not answer in time")
        if isinstance(outcome, Applied | Refused):
            self._alone_until = 0
        return outcome

    def _be_alone(self, seconds: float) -> None:
        self._alone_until = self._now() + int(seconds * SECOND)

    def _alone(self, bucket: Bucket, now: int) -> int:
        """Count without the store: its being away opens no door, and closes none."""
        full_at = max(bucket.full_alone, bucket.seen.value, now) + bucket.each
        if full_at > now + bucket.window:
            return full_at - now - bucket.window
        bucket.full_alone = full_at
        return 0

    async def sweep(self) -> int:
        """Forget every bucket in the store that has long been full; return how many."""
        forgotten, after = 0, PREFIX
        while names := [name for name in await self._names(after, SWEEP) if name.startswith(PREFIX)]:
            long_ago = self._now() - int(SWEEP_S * SECOND)
            for name, reading in zip(names, await self._look_at(names), strict=True):
                if reading.value < long_ago:
                    await self._forget(name)
                    forgotten += 1
            after = names[-1]
        return forgotten

    async def keep_sweeping(self) -> None:
        """Sweep now and then, until cancelled; a store that is away is swept the next time."""
        while True:
            await asyncio.sleep(SWEEP_S)
            with suppress(StoreAway):
                await self.sweep()
