"""A bar on a terminal, for what takes a while."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Self

import click


class Bar:
    """A bar on a terminal's standard error, with what `shown` says at its end; nothing where there is no terminal.

    Without a length there is no bar to fill, only what is shown.
    """

    def __init__(self, label: str, length: int | None, shown: Callable[[], str], *, hidden: bool, eta: bool) -> None:
        self._bar: Any = click.progressbar(
            None if length is not None else (None for _ in ()),
            length=length,
            label=label,
            file=sys.stderr,
            hidden=hidden or not sys.stderr.isatty(),
            show_eta=eta and length is not None,
            item_show_func=lambda _: shown(),
        )

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(*error)

    def went(self, steps: int) -> None:
        """Show that it is `steps` further on."""
        self._bar.update(steps, steps)
