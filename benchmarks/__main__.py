"""`python -m benchmarks`: measure, compare with the goals, and write it down."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

import click

from benchmarks import board
from benchmarks.measures import MEASURES, subjects_of
from benchmarks.needs import missing, remedy
from benchmarks.report import Row, goal_row, goals_table, measures_called, subjects_table
from benchmarks.rounds import Record
from quart_counter.settings import PREFIX

WORDS = {measure.name: measure.title for measure in MEASURES} | {"peers": "every set-up over HTTP"}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("words", nargs=-1, metavar="[MEASURE]...")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="rounds of each subject")
@click.option("--seconds", type=click.IntRange(1), default=3, show_default=True, help="seconds of a round")
@click.option("--quick", is_flag=True, help="one round of a second, and no judgement")
@click.option("--list", "listed", is_flag=True, help="say what there is to measure")
def main(words: tuple[str, ...], rounds: int, seconds: int, quick: bool, listed: bool) -> None:
    """Measure how fast the safe modes are, beside what people write instead.

    \b
    python -m benchmarks
    python -m benchmarks redis lock --rounds 3

    Totals are verified before a speed is told. Exit status: 0 every goal is met, 1 a goal is missed or a total is
    wrong, 2 something is missing here, 3 the client was the limit.
    """
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise click.UsageError(f"there is no measure {unknown[0]!r}; there are {', '.join(WORDS)}")
    if listed:
        click.echo("\n".join(f"{name:15} {title}" for name, title in WORDS.items()))
        return
    _forget_settings()
    wanted = words or tuple(WORDS)
    subjects = subjects_of(wanted)
    absent = missing(name for one in subjects for name in board.needs_of(one))
    for name in absent:
        _say(remedy(name))
    if quick:
        rounds, seconds = 1, 1
    records = board.measure(subjects, rounds=rounds, seconds=seconds, say=_say)
    rows = [goal_row(one, records, judged=not quick) for one in measures_called(wanted)]
    click.echo(subjects_table(records).as_text() + "\n")
    if rows:
        click.echo(goals_table(rows).as_text())
    sys.exit(status(records, rows, absent))


def status(records: Mapping[str, Record], rows: Sequence[Row], absent: Sequence[str]) -> int:
    """Return 2 where something is missing, 1 for a wrong total or a missed goal, 3 where wrk was the limit, or 0."""
    if absent:
        return 2
    if any(record.wrong for record in records.values()) or any(row.met is False for row in rows):
        return 1
    return 3 if any(record.client_bound for record in records.values()) else 0


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _forget_settings() -> None:
    """Measure the defaults, whatever the settings of whoever runs this."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
