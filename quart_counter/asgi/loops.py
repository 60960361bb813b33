"""Which event loop a worker runs on, and what it says when it runs out of something."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final

from quart_counter.errors import ConfigurationError
from quart_counter.extras import install

OUT: Final = (
    "socket.accept() out of system resource"  # asyncio's words for it, 2048 times a second and with a traceback
)
AGAIN_S: Final = 60.0
_log: Final = logging.getLogger(__name__)


def say_in_short(loop: asyncio.AbstractEventLoop) -> None:
    """Tell in one line, and once a minute, that no more connections can be taken; the rest as the loop does."""
    told_at = float("-inf")

    def tell(loop: asyncio.AbstractEventLoop, about: dict[str, Any]) -> None:
        nonlocal told_at
        if about.get("message") != OUT:
            return loop.default_exception_handler(about)
        if loop.time() >= told_at + AGAIN_S:
            told_at = loop.time()
            _log.error(
                "new connections have to wait (%s): raise the limit, LimitNOFILE or ulimit -n", about["exception"]
            )

    loop.set_exception_handler(tell)


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop: `asyncio`'s own (None), `uvloop`, or for `auto` uvloop where it is installed.

    Raises ConfigurationError when uvloop is asked for and missing.
    """
    if loop == "asyncio" or (loop == "auto" and find_spec("uvloop") is None):
        return None
    try:
        import uvloop
    except ImportError as error:
        raise ConfigurationError(f"loop uvloop needs the package uvloop: run {install('speed')}") from error
    return uvloop.new_event_loop
