"""Waiting for several servers to agree; they send us no event, so they are asked again and again."""

import time
from collections.abc import Callable

from quart_counter.local.process import ServerFailed

PATIENCE_S = 60.0
POLL_S = 0.02


def until(true: Callable[[], bool], trouble: str) -> None:
    """Return when it is true; a server that does not answer makes it false. Raises ServerFailed with `trouble`."""
    deadline = time.monotonic() + PATIENCE_S
    while not _holds(true):
        if time.monotonic() > deadline:
            raise ServerFailed(f"{trouble} within {PATIENCE_S:.0f} s")
        time.sleep(POLL_S)


def _holds(true: Callable[[], bool]) -> bool:
    try:
        return true()
    except (OSError, ServerFailed):  # it is away, or loading
        return False
