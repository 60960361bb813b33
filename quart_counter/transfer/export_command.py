"""`quart-counter export`: a line a counter, in the order of their names, into a file that is whole or not there."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click

from quart_counter.errors import ConfigurationError, InvalidChange, StoreAway
from quart_counter.settings.secret import without_secret
from quart_counter.stores import open_store
from quart_counter.transfer.moving import pages
from quart_counter.transfer.rows import LONGEST_LINE, from_line, to_line
from quart_counter.transfer.terminal import Progress, counted, interruptible, must_exist, store_settings

TAIL: Final = 2 * LONGEST_LINE
BEGINNING: Final = b'{"name":"'


def export(file: str, *, url: str | None, resume: bool) -> int:
    """Write every counter of the store at `url` to `file` (- for standard output); return the exit status."""
    exporting = _Export(file, url)
    try:
        with interruptible(), _written(file, resume=resume) as (out, after):
            asyncio.run(exporting.run(out, after))
    except StoreAway as away:
        click.echo(f"Error: {away}, after {counted(exporting.count)}{exporting.remedy}.", err=True)
        return 2
    except KeyboardInterrupt:
        click.echo(f"interrupted after {counted(exporting.count)}{exporting.remedy}", err=True)
        return 3
    click.echo(exporting.summary, err=True)
    return 0


class _Export:
    """One export on its way."""

    def __init__(self, file: str, url: str | None) -> None:
        self._settings, self._limits = store_settings(url)
        must_exist(self._settings.url)
        self._file, self.count, self.summary = file, 0, ""
        self.remedy = "" if file == "-" else f"; --resume goes on with {_part(file)}"

    async def run(self, out: BinaryIO, after: str) -> None:
        """Write what follows the name `after`. Raises StoreAway and ConfigurationError."""
        shows_lines = self._file == "-" and sys.stdout.isatty()
        async with open_store(self._settings.url, self._limits) as store:
            with Progress("exporting", None, hidden=shows_lines) as progress:
                async for rows in pages(store, self._limits, after):
                    out.write(b"".join(map(to_line, rows)))
                    self.count += len(rows)
                    progress.moved(len(rows), self.count)
        where = f" to {self._file}" if self._file != "-" else ""
        more = f" behind {after}" if after else ""
        self.summary = (
            f"exported {counted(self.count)}{more} from {without_secret(self._settings.url)}{where} "
            f"in {progress.elapsed_s:.1f} s"
        )


@contextmanager
def _written(file: str, *, resume: bool) -> Iterator[tuple[BinaryIO, str]]:
    """Give what to write to, and the name after which to go on. A file gets its name when all of it is on the disk."""
    if file == "-":
        if resume:
            raise ConfigurationError("--resume needs a FILE: what went to standard output cannot be read again")
        yield sys.stdout.buffer, ""
        sys.stdout.buffer.flush()
        return
    part = _part(file)
    try:
        with open(part, "r+b" if resume else "xb", opener=_private) as out, _removed_if_empty(part):
            yield out, _last_name(out) if resume else ""
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, file)
    except FileExistsError:
        raise ConfigurationError(
            f"{part} is there, from an export that did not end: --resume goes on with it, or remove it"
        ) from None
    except FileNotFoundError:
        missing = f"there is no {part} to go on with" if resume else f"{part.parent} is no folder"
        raise ConfigurationError(f"{missing}: {'leave out --resume' if resume else 'name another FILE'}") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written ({error.strerror})") from error


@contextmanager
def _removed_if_empty(part: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if part.stat().st_size == 0:
            part.unlink()
        raise


def _private(path: str, flags: int) -> int:
    """Open a file that is none of another's choice (a link in a folder that all may write to leads anywhere) nor for
    another's eyes."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _part(file: str) -> Path:
    return Path(f"{file}.part")


def _last_name(out: BinaryIO) -> str:
    """Cut off a line that was not written to its end, stand behind the last whole one, and return its name. What is no
    export is left as it is."""
    size = out.seek(0, os.SEEK_END)
    out.seek(max(0, size - TAIL))
    whole, end, rest = out.read().rpartition(b"\n")
    try:
        name = from_line(whole.rpartition(b"\n")[2]).name if end else ""
        if not (rest.startswith(BEGINNING) or BEGINNING.startswith(rest)):
            raise InvalidChange("it ends with something else than a line that was begun")
    except InvalidChange as invalid:
        raise ConfigurationError(f"{out.name} is no export ({invalid}): remove it, or name another FILE") from None
    out.truncate(size - len(rest))
    out.seek(0, os.SEEK_END)
    return name
