"""A bar with live counts for a race."""

from __future__ import annotations

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
