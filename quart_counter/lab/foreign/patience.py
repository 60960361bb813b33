"""A limit for what computes without a pause, such as a regular expression that tries everything twice."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class AtAnEnd(Exception):
    """It took longer than it may."""


@contextmanager
def of(cpu_s: float) -> Iterator[None]:
    """Raise AtAnEnd in the block when it has computed for `cpu_s`.

    Time that others had the processor does not count, so a busy machine ends nothing. The standard library's matcher
    looks for signals while it computes. They reach the main thread alone: elsewhere, and on Windows, there is no limit.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _end)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _end(*signalled: object) -> NoReturn:
    raise AtAnEnd
