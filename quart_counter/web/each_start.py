"""What an app does while it serves, at every start."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from quart import Quart

Serving = Callable[[], AsyncGenerator[None, None]]


class EachStart:
    """Quart's `while_serving`, good for more than one start.

    Quart makes the generator when it is registered, once: an app that has stopped, as after a test, could not start
    again.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._running: AsyncGenerator[None, None] | None = None

    async def __anext__(self) -> None:
        """Begin, or end: Quart asks for both in these words."""
        running, self._running = self._running, None
        if running is not None:
            return await anext(running)
        running = self._serving()
        await anext(running)
        self._running = running


def each_start(app: Quart, serving: Serving) -> None:
    """Run `serving` to its yield whenever `app` starts, and to its end whenever it stops."""
    made: Any = EachStart(serving)
    app.while_serving(lambda: made)
