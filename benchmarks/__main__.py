"""`python -m benchmarks`: measure, compare with the goals, and write it down."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks import written
from benchmarks.needs import remedy
from benchmarks.parts import PARTS, WORDS, Options, Part, Result, absent, can_run, left_out
from benchmarks.report import goals_table
from quart_counter.settings import PREFIX


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("words", nargs=-1, metavar="[MEASURE]...")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="rounds of each subject")
@click.option("--seconds", type=click.IntRange(1), default=3, show_default=True, help="seconds of a round")
@click.option("--quick", is_flag=True, help="one round of a second, smaller sizes, and no judgement")
@click.option(
    "--write", "page", type=click.Path(path_type=Path), help="put the tables into this page, and its pictures"
)
@click.option("--list", "listed", is_flag=True, help="say what there is to measure")
def main(words: tuple[str, ...], rounds: int, seconds: int, quick: bool, page: Path | None, listed: bool) -> None:
    """Measure how fast the safe modes are, beside what people write instead. Without a MEASURE: everything.

    \b
    python -m benchmarks
    python -m benchmarks redis lock --rounds 3
    python -m benchmarks --write docs/performance.md

    Totals are verified before a speed is told. Exit status: 0 every goal is met, 1 a goal is missed or a total is
    wrong, 2 something is missing here, 3 the client was the limit.
    """
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise click.UsageError(f"there is no measure {unknown[0]!r}; there are {', '.join(WORDS)}")
    if listed:
        click.echo("\n".join(f"{name:15} {title}" for name, title in WORDS.items()))
        return
    if page is not None:
        written.check(page)
    _forget_settings()
    began = time.monotonic()
    wanted = words or tuple(WORDS)
    if quick:
        rounds, seconds = 1, 1
    options = Options(rounds, seconds, not quick, wanted, _say)
    lacking = _say_what_is_missing(wanted)
    results = _measure(options)
    _tell(results)
    if page is not None:
        written.write(page, results, sys.argv[1:])
    _say(f"{time.monotonic() - began:.0f} s")
    sys.exit(2 if lacking else status(results))


def status(results: Sequence[Result]) -> int:
    """Return 1 for a wrong total or a missed goal, 3 where the client was the limit, else 0."""
    if any(result.wrong or any(row.met is False for row in result.rows) for result in results):
        return 1
    return 3 if any(result.bound for result in results) else 0


def _say_what_is_missing(words: Sequence[str]) -> list[str]:
    """Say it first: an hour later it would be of no use."""
    lacking = sorted({name for part in PARTS if _asked(part, words) for name in absent(part, words)})
    for name in lacking:
        _say(f"{remedy(name)}; what needs it is left out")
    return lacking


def _measure(options: Options) -> list[Result]:
    chosen = [part for part in PARTS if _asked(part, options.words)]
    return [part.measure(options) if can_run(part, options.words) else left_out(part, options.words) for part in chosen]


def _asked(part: Part, words: Sequence[str]) -> bool:
    return any(word in words for word in part.words)


def _tell(results: Sequence[Result]) -> None:
    rows = [row for result in results for row in result.rows]
    tables = [table for result in results for table in result.tables if table.rows]
    if rows:
        tables.append(goals_table(rows))
    click.echo("\n\n".join(table.as_text() for table in tables))


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _forget_settings() -> None:
    """Measure the defaults, whatever the settings of whoever runs this."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
