"""Gates: handlers wait between their read and their write until a crowd has gathered, so that a race fires every time.

Where nothing guards the step, all who wait have read the same number. Under a lock only one can ever be there, and it
waits in vain.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Final

CROWD: Final = 10
PATIENCE_S: Final = 0.020
THREADS: Final = 32  # for exhibits whose handlers run in threads: more than a crowd

# How long a request wants to stand in the gap itself, in seconds; then it waits for no crowd. The demo's slider.
gap_s: ContextVar[float | None] = ContextVar("gap_s", default=None)


class Gate:
    """Opens when `crowd` have arrived, or `patience_s` after the first of them came: no tuned sleep, no luck."""

    def __init__(self, crowd: int = CROWD, patience_s: float = PATIENCE_S) -> None:
        self._crowd, self._patience_s = crowd, patience_s
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self) -> None:
        """Return when the gate opens for this crowd."""
        wanted_s = gap_s.get()
        if wanted_s is not None:
            return await asyncio.sleep(wanted_s)
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


class ThreadGate:
    """The same for threads."""

    def __init__(self, crowd: int = CROWD, patience_s: float = PATIENCE_S) -> None:
        self._crowd, self._patience_s = crowd, patience_s
        self._opened = threading.Condition()
        self._waiting = self._openings = 0

    def wait(self) -> None:
        """Return when the gate opens for this crowd."""
        with self._opened:
            openings = self._openings
            self._waiting += 1
            if self._waiting == self._crowd or not self._opened.wait_for(
                lambda: self._openings > openings, self._patience_s
            ):
                self._waiting, self._openings = 0, self._openings + 1
                self._opened.notify_all()
