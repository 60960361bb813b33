"""Ways of counting for the lab: those broken on purpose, and `lock` with the same pause, so that races fire each time.

Between its read and its write every handler waits at a `Gate`. Where nothing guards the step, a crowd gathers there,
and all of them have read the same number. Under a lock only one can ever be there, and it waits in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from quart_counter.stores.base import Limits, Store
from quart_counter.stores.memory import MemoryStore

CROWD: Final = 10
PATIENCE_S: Final = 0.020


class Gate:
    """Opens when `crowd` have arrived, or `patience_s` after the first of them came: no tuned sleep, no luck."""

    def __init__(self, crowd: int = CROWD, patience_s: float = PATIENCE_S) -> None:
        self._crowd, self._patience_s = crowd, patience_s
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Return when the gate opens for this crowd."""
        loop = asyncio.get_running_loop()
        place = loop.create_future()
        self._waiting.append(place)
        if len(self._waiting) == self._crowd:
            self._open()
        elif self._timer is None:
            self._timer = loop.call_later(self._patience_s, self._open)
        await place

    def _open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        crowd, self._waiting, self._timer = self._waiting, [], None
        for place in crowd:
            if not place.done():
                place.set_result(None)


@asynccontextmanager
async def open_store(mode: str, url: str, limits: Limits) -> AsyncIterator[Store]:
    """Open the store of a mode as the lab runs it."""
    match mode:
        case "bare":
            yield MemoryStore(limits=limits)
        case "unguarded":
            yield MemoryStore(pause=Gate().wait, limits=limits)
        case "lock":
            yield MemoryStore(guard=asyncio.Lock(), pause=Gate().wait, limits=limits)
        case _:
            raise ValueError(f"{mode} is no exhibit")
