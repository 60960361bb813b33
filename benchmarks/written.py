"""Puts the tables into a page, each between its markers, and draws the pictures beside it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import click

from benchmarks.measures import MEASURES
from benchmarks.parts import Result
from benchmarks.picture import Bar, Plot, bars, plots
from benchmarks.report import Table, goals_table, why_not
from benchmarks.rounds import Record

END: Final = "<!-- end -->"
BLOCK: Final = re.compile(r"<!-- benchmarks: ([^>]+) -->\n.*?" + re.escape(END), re.DOTALL)
GOALS: Final = "Measured against the goals"
PACKAGES: Final = ("quart", "hypercorn", "uvicorn", "granian", "uvloop", "redis", "fastapi", "flask", "gunicorn")
PROGRAMS: Final = {
    "wrk": ["wrk", "-v"],
    "Redis": ["redis-server", "--version"],
    "PostgreSQL": ["postgres", "--version"],
    "Webdis": ["dpkg-query", "--show", "webdis"],
}
NUMBER: Final = re.compile(r"(\d+\.\d[\d.]*)")
AXES: Final = {
    "clients": Plot("Milliseconds an answer takes", "clients", "ms; p50 and p99", {}),
    "counters": Plot(
        "What an increment costs while so many exist", "counters", "microseconds, library, one caller", {}
    ),
}


def check(page: Path) -> None:
    """Refuse a page that has no place for tables, before an hour is spent on measuring."""
    if not page.is_file() or not BLOCK.search(page.read_text()):
        raise click.UsageError(f"{page} has no <!-- benchmarks: ... --> to write to, with its {END}")


def write(page: Path, results: Sequence[Result], command: Sequence[str]) -> None:
    """Replace the tables of `page` that were measured, leave the others, and draw the pictures."""
    about = _about(command)
    tables = {table.title: table for result in results for table in result.tables if table.rows}
    rows = [row for result in results for row in result.rows]
    if rows:
        tables[GOALS] = goals_table(rows)
    page.write_text(put(page.read_text(), tables, about))
    for name, picture in _pictures(results):
        (page.parent / "images").mkdir(exist_ok=True)
        (page.parent / "images" / name).write_text(picture)


def put(words: str, tables: Mapping[str, Table], about: str) -> str:
    """Return the page with what stands between the markers replaced by the tables of that title."""

    def block(found: re.Match[str]) -> str:
        title = found[1]
        if title not in tables:
            return found[0]
        return f"<!-- benchmarks: {title} -->\n{tables[title].as_markdown()}\n\n{about}\n{END}"

    return BLOCK.sub(block, words)


def _about(command: Sequence[str]) -> str:
    words = " ".join(["python -m benchmarks", *command])
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, {_processor()}"
    return f"`{words}`, {when}; {machine}; {', '.join(_versions())}."


def _versions() -> Iterator[str]:
    yield f"Python {platform.python_version()}"
    for package in PACKAGES:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue
    for name, asked in PROGRAMS.items():
        if shutil.which(asked[0]):
            told = subprocess.run(asked, capture_output=True, text=True).stdout
            yield f"{name} {found[1] if (found := NUMBER.search(told)) else '?'}"


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else "an unnamed processor"


def _pictures(results: Sequence[Result]) -> Iterator[tuple[str, str]]:
    records = {name: record for result in results for name, record in result.records.items()}
    drawn = list(_bars(records))
    if len(drawn) > 1:
        explained = "to a bare ASGI counter on Hypercorn; logarithmic; red: goal"
        yield "performance.svg", bars("One increment a request, one worker", explained, drawn)
    all_plots = [
        Plot(axes.title, axes.below, axes.beside, lines)
        for result in results
        for name, lines in result.lines.items()
        if (axes := AXES[name]) and any(lines.values())
    ]
    if all_plots:
        yield "growth.svg", plots("Cost as work grows", all_plots)


def _bars(records: Mapping[str, Record]) -> Iterator[Bar]:
    bare = records.get("bare")
    if bare is None or why_not("bare", bare):
        return
    goals = dict(_goals_to_bare(records))
    own = [(name, record) for name, record in records.items() if name == record.subject.server.name]
    told = [(name, record) for name, record in own if not why_not(name, record)]
    for name, record in sorted(told, key=lambda one: -one[1].per_s):
        title = record.subject.title
        yield Bar(title, record.per_s / bare.per_s, title.startswith("ours"), goals.get(name))


def _goals_to_bare(records: Mapping[str, Record]) -> Iterator[tuple[str, float]]:
    """Yield what each subject should reach of bare: its goal times what it is compared with; the highest comes last."""
    goals = []
    for one in MEASURES:
        against = records.get(one.against)
        if one.ours in records and against is not None and not why_not(one.against, against):
            goals.append((one.goal * against.per_s / records["bare"].per_s, one.ours))
    yield from ((name, goal) for goal, name in sorted(goals))
