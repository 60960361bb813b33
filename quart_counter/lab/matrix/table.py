"""What `quart-counter matrix` shows: progress, a table (as text, Markdown or JSON), and a true exit status."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import click

from quart_counter.lab.backends import BAD_LINES
from quart_counter.lab.matrix import COLUMNS, FULL, QUICK, Row, measure, status
from quart_counter.lab.matrix.price import CONNECTIONS
from quart_counter.settings.modes import MODES, no_such_mode

TITLES: Final = {
    "mode": "mode",
    "scope": "shared by [1]",
    "right_1": "right, 1 worker",
    "right_2": "right, 2 workers",
    "worker_kill": "worker kill -9",
    "store_restart": "store restart",
    "store_kill": "store kill -9 [2]",
    "exactly_once": "repeated key",
    "per_s": "req/s [3]",
    "to_bare": "to bare",
    "p99_ms": "p99 ms",
}
PRICES: Final = ("per_s", "to_bare", "p99_ms")
WORDS: Final = {
    "SAFE": "yes",
    "RACY": "no",
    "SCOPED": "all are 1",
    "INCONCLUSIVE": "?",
    True: "yes",
    False: "no",
    None: "?",
}
ONCE: Final = {True: "counts once", False: "refused", None: "?"}
SURVIVES: Final = {True: "survives", False: "lost", None: "?"}
STEPS: Final = len(COLUMNS)  # that a row tells of: a kill answered twice is one, and the price is one


def matrix(modes: Sequence[str], *, quick: bool, as_json: bool, as_markdown: bool) -> int:
    """Measure the modes named, or all of them, print what was learnt (also when interrupted), return the status."""
    rows = _rows(modes)
    complete = True
    try:
        with _Progress(rows) as progress:
            asyncio.run(measure(rows, QUICK if quick else FULL, progress.told))
    except KeyboardInterrupt:
        complete = False
        rows = [row for row in rows if row.measured or row.missing]
        click.echo(f"interrupted: {len(rows)} of {len(_rows(modes))} rows were begun", err=True)
    if as_json:
        click.echo(json.dumps({"rows": [row.document() for row in rows]}, indent=2))
    else:
        click.echo("\n".join(markdown(rows) if as_markdown else text(rows)))
    return status(rows, complete=complete)


def _rows(modes: Sequence[str]) -> list[Row]:
    for mode in modes:
        if mode not in MODES:
            raise no_such_mode(mode)
    return [Row(mode) for mode in modes or MODES]


def text(rows: Sequence[Row]) -> Iterator[str]:
    """The table for a terminal: aligned; colours only there, and never with NO_COLOR."""
    lines = [[*TITLES.values()], *([_cell(row, column) for column in TITLES] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(TITLES))]
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        if number > 0:
            row = rows[number - 1]
            cells = [_coloured(row, column, cell) for column, cell in zip(TITLES, cells, strict=True)]
        yield "  ".join(cells).rstrip()
    yield from _remarks(rows)


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    """The table as README carries it."""
    yield f"| {' | '.join(TITLES.values())} |"
    yield "|---" * len(TITLES) + "|"
    for row in rows:
        cells = [_cell(row, column) for column in TITLES]
        cells = [f"**{cell}**" if row.differs(column) else cell for column, cell in zip(TITLES, cells, strict=True)]
        yield f"| `{cells[0]}` | {' | '.join(cells[1:])} |"
    yield from (f"- {line.strip()}" if line else "" for line in _remarks(rows))


def _cell(row: Row, column: str) -> str:
    if column == "mode":
        return row.mode
    if row.missing:
        return "not here" if column == "scope" else "-"
    if column in PRICES:
        return "-" if row.price is None or row.price[column] is None else str(row.price[column])
    if column not in row.measured:
        return "-"
    seen = _word(column, row.measured[column])
    if row.differs(column):
        return f"{seen} (declared: {_word(column, row.expected[column])})"
    return str(row.expected["scope"]) if column == "scope" and not row.is_open(column) else seen


def _word(column: str, value: Any) -> str:
    if column == "scope":
        return str(value or "?")
    if column.startswith("right"):
        return WORDS[value]
    return (ONCE if column == "exactly_once" else SURVIVES)[value]


def _coloured(row: Row, column: str, cell: str) -> str:
    if row.differs(column):
        return click.style(cell, fg="red", bold=True)
    if column in ("mode", "scope", *PRICES) or row.missing or column not in row.measured:
        return cell
    if row.is_open(column):
        return click.style(cell, fg="yellow")
    good = row.measured[column] in ("SAFE", True)
    return click.style(cell, fg="green" if good else "red")


def _remarks(rows: Sequence[Row]) -> Iterator[str]:
    """Say what is missing, what differs, what came to no result, and what the table cannot say."""
    yield ""
    for row in rows:
        if row.missing:
            yield f"NOT HERE: {row.mode}: {row.missing}"
        for column in COLUMNS:
            if row.differs(column):
                seen, said = (_word(column, side[column]) for side in (row.measured, row.expected))
                yield f"NOT AS DECLARED: {row.mode}, {TITLES[column]}: {seen}, declared: {said}"
        for column, trouble in row.troubles.items():
            yield f"NO RESULT: {row.mode}, {TITLES.get(column, column)}: {trouble}"
    told = [row for row in rows if row.measured]
    wrong = sum(any(row.differs(column) for column in COLUMNS) for row in told)
    yield f"{len(told) - wrong} of {len(rows)} rows are as their stores declare; every cell was measured in this run."
    yield from ("", *_footnotes(told))


def _footnotes(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        "[1] as declared. Measured is whether two clients, and two workers, see one number; on one machine a host's "
        "and a network's look alike: shared by processes."
    )
    own = [row.mode for row in rows if MODES[row.mode].per_client]
    if own:
        yield (
            f"    {', '.join(own)}: a number for each client; right means for one client that is in many places at "
            "once. The routes below /session refuse an Idempotency-Key."
        )
    yield (
        "[2] a store that lives in the worker ends with it: its restart and its kill are the worker's." + _power(rows)
    )
    yield (
        f"[3] one worker, {CONNECTIONS} connections, client and server on the same cores: only the ratios travel. Only "
        "for what counts right."
    )
    for mode in BAD_LINES:
        if any(row.mode == mode for row in rows):
            yield f"    {mode} is raced on a line that loses one reply in five; without that it counts right."


def _power(rows: Sequence[Row]) -> str:
    sure = [row.mode for row in rows if row.promises.get("durable") == "power_loss" and not MODES[row.mode].exhibit]
    return f" Power loss: configured, not tested ({', '.join(sure)})." if sure else ""


class _Progress:
    """A bar on a terminal's standard error; nothing where there is no terminal."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._last = ""
        self._bar: Any = click.progressbar(
            length=len(rows) * STEPS,
            label="measuring",
            file=sys.stderr,
            hidden=not sys.stderr.isatty(),
            item_show_func=lambda _: self._last,
        )

    def __enter__(self) -> _Progress:
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> Literal[False]:
        self._bar.__exit__(*error)
        return False

    def told(self, mode: str, column: str) -> None:
        """One cell more."""
        self._last = f"{mode}: {TITLES.get(column, column)}"
        self._bar.update(1, mode)
