"""Work that is seen through though whoever asked for it leaves.

errands = Errands()
reading = await errands.run(store.read("tickets"))
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any, TypeVar

Returned = TypeVar("Returned")


class Errands:
    """Each piece of work is a task of its own: a client that hangs up cancels its request, not the work. (A driver that
    is cancelled in the middle of a statement has to throw its connection away.)"""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, Returned]) -> Returned:
        """Return what `work` returns, or raise what it raises; cancelled, leave it to itself."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._under_way.add(task)
        task.add_done_callback(self._done)
        await asyncio.wait([task])
        return task.result()

    async def drain(self) -> None:
        """Wait until all work begun so far is done."""
        if self._under_way:
            await asyncio.wait(self._under_way)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, for perhaps nobody else is left who does
