"""What `quart-counter race` shows: progress while it runs, one table, JSON, and a true exit status."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from quart_counter.errors import ConfigurationError
from quart_counter.lab.backends import backend
from quart_counter.lab.checker import ANOMALIES
from quart_counter.lab.html.file import PageFile
from quart_counter.lab.progress import Progress, stopped_in_order
from quart_counter.lab.race import DEFAULT, Entry, Row, run
from quart_counter.lab.race import entries as races
from quart_counter.lab.race.explain import CLIENTS, ENTRIES
from quart_counter.lab.race.explain import explain as tell
from quart_counter.settings.modes import MODES, no_such_mode

COLUMNS: Final = ("mode", "workers", "ok", "distinct", *ANOMALIES, "verdict", "expected", "p50_ms", "p99_ms")
TITLES: Final = {
    "ok": "answered",
    "out_of_order": "out of order",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
}
COLOURS: Final = {"SAFE": "green", "RACY": "red", "SCOPED": "cyan", "INCONCLUSIVE": "yellow"}


def race(
    modes: Sequence[str],
    *,
    workers: int | None,
    clients: int,
    requests: int | None,
    url: str | None,
    history_dir: str | None,
    html_file: str | None,
    as_json: bool,
    explain: bool,
) -> int:
    """Run the races, print what was learnt (also when interrupted), and return the exit status."""
    entries = _entries(modes, workers)
    page_file = None if html_file is None else PageFile(Path(html_file))
    requests = clients if requests is None else requests
    rows: list[Row] = []
    stories: list[Row] = []
    try:
        with stopped_in_order():
            for entry in entries:
                with _store_url(entry, url) as store_url:
                    rows.append(_race(entry, store_url, min(clients, requests), requests, silent=as_json))
                if history_dir is not None:
                    rows[-1].keep(Path(history_dir))
            if explain:
                stories = [_race(entry, "", CLIENTS, CLIENTS, silent=True) for entry in ENTRIES]
    except KeyboardInterrupt:
        click.echo(f"interrupted after {len(rows)} of {len(entries)} races", err=True)
    click.echo(json.dumps({"rows": [row.document() for row in rows]}, indent=2) if as_json else table(rows))
    if not as_json:
        click.echo(_conclusion(rows))
    if stories:
        click.echo("\n" + tell(stories), err=as_json)
    if page_file is not None:
        page_file.write(rows, note=_missing(entries, len(rows)))
    return status(rows, complete=len(rows) == len(entries))


def _missing(entries: Sequence[Entry], run: int) -> str:
    """What a page says of races that were not run to their end: nothing follows from half of one."""
    if run == len(entries):
        return ""
    cut = entries[run]
    return f"Interrupted: {run} of {len(entries)} races were run. {cut.title} x{cut.workers} did not come to its end."


def _race(entry: Entry, url: str, clients: int, requests: int, *, silent: bool) -> Row:
    with Progress(f"{entry.title} x{entry.workers}", requests, silent=silent) as progress:
        return asyncio.run(run(entry, url=url, clients=clients, requests=requests, heard=progress.heard))


def status(rows: Sequence[Row], *, complete: bool = True) -> int:
    """1 if a row is not as expected, else 3 if one is inconclusive or missing, else 0."""
    if any(not row.as_expected and row.verdict != "INCONCLUSIVE" for row in rows):
        return 1
    return 0 if complete and all(row.as_expected for row in rows) else 3


def _entries(modes: Sequence[str], workers: int | None) -> Sequence[Entry]:
    for mode in modes:
        if mode not in MODES:
            raise no_such_mode(mode)
    if not modes:
        chosen = [entry for entry in DEFAULT if workers in (None, entry.workers)]
        if not chosen:
            raise ConfigurationError(
                f"no default race has {workers} workers: name a mode, as in race redis --workers {workers}"
            )
        return chosen
    return [entry for mode in modes for entry in races(mode, workers or 1)]


@contextmanager
def _store_url(entry: Entry, url: str | None) -> Iterator[str]:
    """Give the store to race: the one named, where the mode uses one, else one of our own."""
    mode = MODES[entry.mode]
    if url is not None and (url.partition(":")[0] in mode.schemes or not mode.in_worker):
        yield url
        return
    with backend(entry.mode) as private:
        yield private.url


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text; colours only on a terminal, and never with NO_COLOR."""
    lines = [[TITLES.get(column, column) for column in COLUMNS]]
    lines += [[_cell({**row.document(), "mode": row.entry.title}[column]) for column in COLUMNS] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    texts = [
        "  ".join(_aligned(i, cell, width) for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    return "\n".join(text.rstrip() for text in texts)


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def _aligned(i: int, cell: str, width: int) -> str:
    column = COLUMNS[i]
    if column in ("mode", "verdict", "expected"):
        return click.style(cell.ljust(width), fg=COLOURS.get(cell)) if column == "verdict" else cell.ljust(width)
    return cell.rjust(width)


def _conclusion(rows: Sequence[Row]) -> str:
    odd = [row for row in rows if not row.as_expected]
    if not odd:
        return f"\n{len(rows)} of {len(rows)} as expected"
    return "\n" + "\n".join(
        f"NOT AS EXPECTED: {row.entry.title} x{row.entry.workers} is {row.verdict}, expected {row.expected}"
        f" ({row.judged.reason or 'the requests did not overlap enough'})"
        for row in odd
    )
