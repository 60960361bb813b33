"""A bar with live counts for a race, and its end in good order when somebody ends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from quart_counter.cli.bar import Bar
from quart_counter.lab.history import Operation


class Progress(Bar):
    """How many requests were answered so far, and with how many numbers."""

    def __init__(self, label: str, requests: int, *, silent: bool) -> None:
        self._numbers: set[int | None] = set()
        self._answered = 0
        super().__init__(f"{label:<20}", requests, self._counts, hidden=silent, eta=False)

    def heard(self, operation: Operation) -> None:
        """Count one answer."""
        if operation.outcome == "ok":
            self._answered += 1
            self._numbers.add(operation.value)
        self.went(1)

    def _counts(self) -> str:
        return f"{self._answered} answered, {len(self._numbers)} distinct"


@contextmanager
def stopped_in_order() -> Iterator[None]:
    """Take SIGTERM, as a CI sends when time is up, for Ctrl-C: what was started is stopped, what was learnt is told."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
