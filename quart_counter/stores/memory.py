"""Counters in this process's memory: `lock`, and the two ways of getting it wrong that differ by one argument each."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import replace

from quart_counter.model import Change, Outcome, Reading, Record, State, apply
from quart_counter.stores.base import Guarantees, Limits


class MemoryStore:
    """An in-process counter; atomic under `guard`, with any number of tasks on one event loop.

    `guard` and `pause` make the three modes: neither is `bare` (no await inside the step, so atomic on one loop),
    `pause` alone is `unguarded` (an await between reading and writing: racy), both are `lock` (the same await, under an
    asyncio.Lock). In service `lock` has no pause; its lock stays for the await that someone adds one day.
    """

    guarantees = Guarantees(
        scope="process",
        atomic=True,
        durable="none",
        exactly_once=True,
        versioned=True,
        gapless=True,
        notes=("the numbers live in one worker's memory and end with it",),
    )

    def __init__(
        self,
        guard: AbstractAsyncContextManager[object] | None = None,
        pause: Callable[[], Awaitable[object]] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._guard = nullcontext() if guard is None else guard
        self._pause = pause
        # Without an await inside, the step is atomic on its loop as it is; with one, only the guard makes it so.
        self.guarantees = replace(self.guarantees, atomic=pause is None or guard is not None)
        self._limits = limits or Limits()
        self._readings: dict[str, Reading] = {}
        self._names: list[str] = []
        self._keys: OrderedDict[str, Keys] = OrderedDict()

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order; one pass under the guard."""
        async with self._guard:
            return [await self._step(change) for change in changes]

    async def _step(self, change: Change) -> Outcome:
        before = self._look_up(change)
        if self._pause is not None:
            await self._pause()
        after, outcome = apply(before, change, self._limits.max_keys)
        self._store(change, before, after)
        return outcome

    def _look_up(self, change: Change) -> State:
        value, version = self._readings.get(change.name, Reading())
        if change.key is None:
            return State(value, version)
        self._forget_some()
        keys = self._keys_of(change.name)
        keys.forget_expired()
        return State(value, version, keys.records.get(change.key), len(keys.records))

    def _store(self, change: Change, before: State, after: State) -> None:
        if after.version != before.version:
            if change.name not in self._readings:
                insort(self._names, change.name)
            self._readings[change.name] = Reading(after.value, after.version)
        if change.key is not None and after.record is not None and before.record is None:
            self._keys_of(change.name).keep(change.key, after.record)

    def _keys_of(self, name: str) -> Keys:
        return self._keys.setdefault(name, Keys(self._limits.key_life_s))

    def _forget_some(self) -> None:
        """Each change with a key looks at one other name's keys, or those that nobody asks for again would stay."""
        if self._keys:
            name, keys = self._keys.popitem(last=False)
            keys.forget_expired()
            if keys.records:
                self._keys[name] = keys

    async def read(self, name: str) -> Reading:
        """Return value and version of this moment."""
        return self._readings.get(name, Reading())

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        start = bisect_right(self._names, after)
        return self._names[start : start + limit]

    async def forget(self, name: str) -> None:
        """Remove a counter and its keys."""
        if self._readings.pop(name, None) is not None:
            del self._names[bisect_left(self._names, name)]
        self._keys.pop(name, None)

    async def aclose(self) -> None:
        """Nothing to let go of: the numbers end with the object."""


class Keys:
    """The live idempotency records of one counter; all live equally long, so the oldest expires first."""

    def __init__(self, life_s: float) -> None:
        self.records: dict[str, Record] = {}
        self._expiry: deque[tuple[float, str]] = deque()
        self._life_s = life_s

    def keep(self, key: str, record: Record) -> None:
        """Remember `record` for its whole life."""
        self.records[key] = record
        self._expiry.append((time.monotonic() + self._life_s, key))

    def forget_expired(self) -> None:
        """Drop the records whose life is over; each is looked at once."""
        now = time.monotonic()
        while self._expiry and self._expiry[0][0] <= now:
            self.records.pop(self._expiry.popleft()[1], None)  # `unguarded` may have kept one key twice


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[MemoryStore]:
    """Open the store of `lock` mode: an asyncio.Lock, made here because it belongs to the running loop."""
    yield MemoryStore(guard=asyncio.Lock(), limits=limits)
