"""The file that a page goes to: looked at before the races, written after them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quart_counter.errors import ConfigurationError
from quart_counter.lab.html.page import page


class PageFile:
    """A file that can be written. Raises ConfigurationError at once where it cannot, not after the races."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists() and not path.is_file() and not path.is_dir():
            return  # a pipe or a device: opening it to look would already be using it
        new = not path.exists()
        try:
            path.open("ab").close()
        except OSError as error:
            raise self._unwritable(error) from error
        if new:
            path.unlink()

    def write(self, rows: Sequence[Any], *, commands: Sequence[Sequence[str]] = (), note: str = "") -> None:
        """Write the page of `rows`. Raises ConfigurationError."""
        text = page(rows, commands=commands, note=note)
        try:
            self._path.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ConfigurationError:
        reason = error.strerror or type(error).__name__
        return ConfigurationError(
            f"--html {self._path} cannot be written ({reason}): name a file in a folder that exists and is yours"
        )
