"""`quart-counter import`: counters from lines, from plain Redis keys or from a query, into any store."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import click

from quart_counter.errors import ConfigurationError, InvalidChange, StoreAway
from quart_counter.extras import install
from quart_counter.settings.secret import without_secret
from quart_counter.stores import Limits, open_store
from quart_counter.transfer import from_file, from_sql
from quart_counter.transfer.moving import FLUSH, Kept, Restoring
from quart_counter.transfer.naming import Naming, pair
from quart_counter.transfer.rows import Row, restore, whole
from quart_counter.transfer.terminal import Progress, counted, interruptible, store_settings

TOLD: Final = 10  # counters that were kept, by name
AGAIN: Final = "run the same command again: what is there already is passed over"
UNDER_WAY: Final = f"and perhaps some of the next {FLUSH}"

Batches = AsyncIterator[tuple[list[Row], int]]


class Wanted(NamedTuple):
    """Where the counters come from, as the options say: a file, else one of the others."""

    file: str | None
    start: Sequence[str]
    from_redis: str | None
    match: str
    from_sql: str | None
    from_url: str | None
    naming: Naming


def wanted(
    file: str | None,
    *,
    start: Sequence[str],
    from_redis: str | None,
    match: str | None,
    from_sql: str | None,
    from_url: str | None,
    cut: str,
    maps: Sequence[str],
) -> Wanted:
    """Check that the options go together. Raises ConfigurationError."""
    sources = {"FILE": file, "--start": start, "--from-redis": from_redis, "--from-sql": from_sql}
    given = [name for name, one in sources.items() if one]
    if len(given) != 1:
        told = " and ".join(given) or "none"
        raise ConfigurationError(f"give one of FILE, --start, --from-redis and --from-sql to import from, not {told}")
    if (from_redis is None) != (match is None):
        raise ConfigurationError("--from-redis and --match go together: --from-redis redis://HOST:PORT/0 --match 'n:*'")
    if (from_sql is None) != (from_url is None):
        raise ConfigurationError(
            "--from-sql and --from-url go together: --from-sql 'SELECT …' --from-url sqlite:shop.db"
        )
    if (cut or maps) and (file or start):
        raise ConfigurationError("--cut and --map are for the names that --from-redis and --from-sql find")
    return Wanted(file, start, from_redis, match or "", from_sql, from_url, Naming(cut, [pair(one) for one in maps]))


def import_(source: Wanted, *, url: str | None, replace: bool) -> int:
    """Make the counters in the store at `url` and return the exit status: 1 if some were there with other values."""
    settings, limits = store_settings(url)
    importing = _Import(without_secret(settings.url))
    try:
        with interruptible():
            asyncio.run(importing.run(source, settings.url, limits, replace=replace))
    except InvalidChange as invalid:
        click.echo(f"Error: {invalid}.", err=True)
        click.echo(f"{importing.summary}. Mend it and {AGAIN}.", err=True)
        return 2
    except StoreAway as away:
        click.echo(f"Error: {away}.", err=True)
        click.echo(f"{importing.summary}, {UNDER_WAY}. When it is back, {AGAIN}.", err=True)
        return 2
    except KeyboardInterrupt:
        click.echo(f"interrupted: {importing.summary}, {UNDER_WAY}. To go on, {AGAIN}.", err=True)
        return 3
    click.echo(importing.summary)
    return importing.tell_kept()


class _Import:
    """One import on its way."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._restoring: Restoring | None = None

    async def run(self, source: Wanted, url: str, limits: Limits, *, replace: bool) -> None:
        """Make every counter of `source`. Raises InvalidChange, StoreAway and ConfigurationError."""
        batches, length = _opened(source, limits)
        async with open_store(url, limits) as store, aclosing(batches):  # type: ignore[type-var]
            self._restoring = restoring = Restoring(store, replace=replace, told=TOLD)
            with Progress("importing", length) as progress:
                async for rows, steps in batches:
                    for start in range(0, len(rows), FLUSH):
                        await restoring.flush(rows[start : start + FLUSH])
                    progress.moved(steps, restoring.settled)

    @property
    def summary(self) -> str:
        """What was done, in a sentence."""
        done = self._restoring
        if done is None:
            return "nothing was imported"
        parts = {"new": done.made, "replaced": done.replaced, "there already": done.there_already, "kept": done.kept}
        told = ", ".join(f"{number:,} {what}" for what, number in parts.items() if number or what == "new")
        return f"{counted(done.settled)} imported into {self._place}: {told}"

    def tell_kept(self) -> int:
        """Name counters that were not overwritten, and return the exit status."""
        if self._restoring is None or not self._restoring.kept:
            return 0
        for kept in self._restoring.examples:
            click.echo(_sentence(kept), err=True)
        others = self._restoring.kept - len(self._restoring.examples)
        more = f" ({others:,} more are not listed)" if others else ""
        click.echo(f"Error: {counted(self._restoring.kept)} kept unchanged{more}: --replace overwrites.", err=True)
        return 1


def _sentence(kept: Kept) -> str:
    row, value, version = kept
    there, here = f"{value} (version {version})", f"{row.value} (version {row.version})"
    return f"kept {row.name}: it is at {there} in the store, and {here} in what is imported"


def _opened(source: Wanted, limits: Limits) -> tuple[Batches, int | None]:
    """Return the counters to import and how many steps of progress they are, where that is known."""
    if source.from_redis is not None:
        try:
            from quart_counter.transfer import from_redis
        except ModuleNotFoundError as error:
            raise ConfigurationError(f"--from-redis needs the package {error.name}: run {install('redis')}") from error
        return from_redis.batches(source.from_redis, source.match, source.naming, limits), None
    if source.from_sql is not None and source.from_url is not None:
        return from_sql.batches(source.from_url, source.from_sql, source.naming), None
    if source.start:
        rows = [_started(one) for one in source.start]
        return _at_once(rows), len(rows)
    return _file(source.file or "-")


def _file(path: str) -> tuple[Batches, int | None]:
    if path == "-":
        return _lines(sys.stdin.buffer), None
    try:
        file = Path(path).open("rb")  # noqa: SIM115 whoever reads the lines closes it
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror})") from error
    return _lines(file), os.fstat(file.fileno()).st_size or None


async def _lines(file: BinaryIO) -> Batches:
    with file:
        for batch in from_file.batches(file):
            yield batch


async def _at_once(rows: list[Row]) -> Batches:
    yield rows, len(rows)


def _started(text: str) -> Row:
    name, _, value = text.partition("=")
    try:
        row = Row(name, whole(value))
        restore(row)
        return row
    except InvalidChange as invalid:
        raise ConfigurationError(f"--start {text}: {invalid}") from None
    except ValueError:
        raise ConfigurationError(f"--start {text}: write a name and a whole number, for example tickets=1000") from None
