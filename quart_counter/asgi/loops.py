"""Which event loop a worker runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.util import find_spec

from quart_counter.errors import ConfigurationError


def loop_factory(loop: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the loop: `asyncio`'s own (None), `uvloop`, or for `auto` uvloop where it is installed.

    Raises ConfigurationError when uvloop is asked for and missing.
    """
    if loop == "asyncio" or (loop == "auto" and find_spec("uvloop") is None):
        return None
    try:
        import uvloop
    except ImportError as error:
        raise ConfigurationError(
            "loop uvloop needs the package uvloop: run pip install 'quart-counter[speed]'"
        ) from error
    return uvloop.new_event_loop
