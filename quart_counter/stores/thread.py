"""A thread for a store whose backend blocks: jobs run one after another in it, and each is waited for so long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from quart_counter.stores.base import NeverSent, StoreAway

Answer = TypeVar("Answer")


class Thread:
    """One thread, started by its first job. `place` completes "... was busy" when a job had to be given up."""

    def __init__(self, name: str, place: str) -> None:
        self._pool, self._place = ThreadPoolExecutor(1, name), place

    async def run(self, job: Callable[[], Answer], timeout_s: float) -> Answer:
        """Return what `job` returns; what it raises is raised here.

        A job that began cannot be stopped: cancelling the caller leaves it to its end. Raises NeverSent if it did not
        begin in time and never will, StoreAway if the thread is still in the middle of it.
        """
        future = self._pool.submit(job)
        try:
            done = asyncio.wrap_future(future)
            done.add_done_callback(lambda one: one.cancelled() or one.exception())  # looked at: a caller may have left
            await asyncio.wait([done], timeout=timeout_s)
        finally:
            never_began = future.cancel()  # of no effect on a job that began
        if never_began:
            raise NeverSent(f"{self._place} was busy with earlier changes until the deadline")
        if not future.done():
            raise StoreAway(f"{self._place} did not come back from the disk in time")
        return future.result()

    async def aclose(self, last_job: Callable[[], None], timeout_s: float) -> None:
        """Run `last_job`, then end the thread; one that is stuck is left to itself."""
        try:
            await self.run(last_job, timeout_s)
        except StoreAway:
            self._pool.shutdown(wait=False)
        else:
            self._pool.shutdown()  # it is idle now, so this takes no time
