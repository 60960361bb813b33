"""What export and import share at the terminal: which store, a bar, a Ctrl-C that is heard while a pipe is silent."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from quart_counter.cli.bar import Bar
from quart_counter.errors import ConfigurationError
from quart_counter.settings import Settings, load_settings
from quart_counter.settings.modes import MODES
from quart_counter.stores import Limits
from quart_counter.stores.base import path_of


def store_settings(url: str | None) -> tuple[Settings, Limits]:
    """Return the store that flag or environment name. Raises ConfigurationError for one that nobody else can open."""
    settings = load_settings(url=url)
    if MODES[settings.mode].exhibit:
        raise ConfigurationError(f"mode {settings.mode} counts wrong on purpose: name a store with --url")
    if settings.in_worker or settings.url.rstrip("/") == "manager:":
        raise ConfigurationError(
            "name the store with --url, for example redis://127.0.0.1:6379/0 or sqlite:counters.db; numbers in a "
            "worker's own memory can only be had from the worker, at GET /counters"
        )
    limits = Limits(settings.store_timeout_s, settings.deadline_s, settings.key_life_s, settings.max_keys)
    return settings, limits


def counted(number: int) -> str:
    """Say how many counters: 1 counter, 2,000 counters."""
    return f"{number:,} counter{'' if number == 1 else 's'}"


def must_exist(url: str) -> None:
    """Raise ConfigurationError for a file or folder that is not there: opening it would make an empty one."""
    path = Path(path_of(url))
    if url.startswith(("sqlite:", "file:")) and not path.exists():
        raise ConfigurationError(f"{path} is not there, so there is nothing to export: name another with --url")


class Progress(Bar):
    """A bar that counts counters, and the time they take. Without a length it shows the count alone."""

    def __init__(self, label: str, length: int | None, *, hidden: bool = False) -> None:
        self._count, self._since = 0, time.monotonic()
        super().__init__(label, length, lambda: counted(self._count), hidden=hidden, eta=True)

    def moved(self, steps: int, count: int) -> None:
        """Show that the bar is `steps` further on, with `count` counters done by now."""
        self._count = count
        self.went(steps)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._since


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt wherever we are.

    asyncio's own handler waits for the next await, which does not come while a silent pipe is read.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Any = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # a shell's background job leaves Ctrl-C to the others
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
