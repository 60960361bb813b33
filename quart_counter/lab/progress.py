"""A bar with live counts, on a terminal's standard error."""

from __future__ import annotations

import sys
from typing import Any

import click

from quart_counter.lab.history import Operation


class Progress:
    """A bar with live counts on a terminal's standard error; nothing where there is no terminal."""

    def __init__(self, label: str, requests: int, *, silent: bool) -> None:
        self._numbers: set[int | None] = set()
        self._answered = 0
        hidden = silent or not sys.stderr.isatty()
        self._bar: Any = click.progressbar(
            length=requests,
            label=f"{label:<20}",
            file=sys.stderr,
            hidden=hidden,
            show_eta=False,
            item_show_func=lambda _: f"{self._answered} answered, {len(self._numbers)} distinct",
        )

    def __enter__(self) -> Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def heard(self, operation: Operation) -> None:
        """Count one answer."""
        if operation.outcome == "ok":
            self._answered += 1
            self._numbers.add(operation.value)
        self._bar.update(1, operation)
