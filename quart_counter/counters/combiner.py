"""Lets concurrent callers share one trip: what waits while a flush is in flight forms the next flush.

    combiner = Combiner(flush=store.apply, expired=..., failed=...)
    outcome = await combiner.submit(change)

Load makes the batches larger by itself: there is no window, no timer and no size to tune. The combiner computes no
answer; it hands outcome i of a flush to waiter i. Every member of a batch overlaps its flush, and nobody is answered
before the flush replied, so sharing the trip keeps each answer linearizable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_Batch: TypeAlias = list[tuple[Item, asyncio.Future[Result]]]

MAX_BATCH = 512  # bounds what one reply may carry, and how long the store is busy with one flush


@dataclass(frozen=True)
class Statistics:
    """Counts since the start: `waiting` now, `flushes` sent, `applied` items that a flush answered."""

    waiting: int
    flushes: int
    applied: int


class Combiner(Generic[Item, Result]):
    """One flush in flight at a time; nobody hangs, and a caller that goes away harms nobody.

    `flush` returns one result an item, in order. An item that was not sent within `deadline_s` gets `expired(item)`; if
    `flush` raises, is cancelled or returns the wrong number of results, each of its items gets `failed(item, error)`.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        expired: Callable[[Item], Result],
        failed: Callable[[Item, BaseException], Result],
        deadline_s: float,
        max_batch: int = MAX_BATCH,
    ) -> None:
        self._flush, self._expired, self._failed = flush, expired, failed
        self._deadline_s, self._max_batch = deadline_s, max_batch
        self._waiting: deque[tuple[Item, float, asyncio.Future[Result]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._flushes = self._applied = 0

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue `item` and return the future of its result. Cancel the future to leave; the flush goes on."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, loop.time(), future))
        if self._task is None:
            self._start()
        return future

    def statistics(self) -> Statistics:
        """Return the counts of this moment."""
        return Statistics(len(self._waiting), self._flushes, self._applied)

    async def aclose(self) -> None:
        """Wait until everything submitted so far is answered."""
        while self._task is not None:
            await asyncio.wait([self._task])

    def _start(self) -> None:
        # An empty context: the flush serves many requests and must not carry the variables of one of them.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        self._task.add_done_callback(self._finished)

    async def _run(self) -> None:
        while batch := self._next_batch():
            await self._send(batch)

    def _finished(self, task: asyncio.Task[None]) -> None:
        # A callback, not a finally: a task that is cancelled before its first step never enters its coroutine.
        self._task = None
        if task.cancelled() or task.exception() is not None:
            self._abandon()
        elif self._waiting:
            self._start()

    def _next_batch(self) -> _Batch[Item, Result]:
        """Take up to `max_batch` waiters in arrival order; drop those who left, answer those who waited too long."""
        oldest = asyncio.get_running_loop().time() - self._deadline_s
        batch: _Batch[Item, Result] = []
        while self._waiting and len(batch) < self._max_batch:
            item, since, future = self._waiting.popleft()
            if future.done():
                continue
            if since < oldest:
                future.set_result(self._expired(item))
                continue
            batch.append((item, future))
        return batch

    async def _send(self, batch: _Batch[Item, Result]) -> None:
        items = [item for item, _ in batch]
        self._flushes += 1
        try:
            results = await self._flush(items)
            if len(results) != len(items):
                raise RuntimeError(f"the flush answered {len(results)} results to {len(items)} items")
        except BaseException as error:
            self._answer(batch, [self._failed(item, error) for item in items])
            if not isinstance(error, Exception):
                raise
            return
        self._applied += len(items)
        self._answer(batch, results)

    def _answer(self, batch: _Batch[Item, Result], results: Sequence[Result]) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _abandon(self) -> None:
        """Answer whoever still waits after the flush task was cancelled: their items were never sent."""
        while self._waiting:
            item, _, future = self._waiting.popleft()
            if not future.done():
                future.set_result(self._expired(item))


class Lanes(Generic[Item, Result]):
    """Combiners side by side, each with a flush of its own in flight: who waits in one holds up nobody in another."""

    def __init__(self, combiners: Sequence[Combiner[Item, Result]], lane_of: Callable[[Item], int]) -> None:
        self._combiners, self._lane_of = combiners, lane_of

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Queue `item` in its lane and return the future of its result."""
        return self._combiners[self._lane_of(item)].submit(item)

    def statistics(self) -> Statistics:
        """Return the counts of this moment, of all lanes together."""
        each = [combiner.statistics() for combiner in self._combiners]
        return Statistics(
            sum(one.waiting for one in each), sum(one.flushes for one in each), sum(one.applied for one in each)
        )

    async def aclose(self) -> None:
        """Wait until everything submitted so far is answered, in every lane."""
        await asyncio.gather(*(combiner.aclose() for combiner in self._combiners))
