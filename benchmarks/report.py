"""Results as tables: aligned for a terminal, or Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.measures import Measure
from benchmarks.rounds import Record

MET: Final = {True: "met", False: "MISSED", None: "-"}


@dataclass(frozen=True)
class Row:
    """One measure with a goal. `met` is None where nothing was measured, or too briefly to judge."""

    name: str
    title: str
    measured: str
    goal: str
    met: bool | None
    by_cpu: str = "-"
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A heading, the names of the columns, and the cells."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def as_text(self) -> str:
        """Aligned in columns; the first one holds words, the others figures."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        cells = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
        for line, row in zip(cells, lines, strict=True):
            line[0] = row[0].ljust(widths[0])
        return "\n".join([self.title, "", *("  ".join(line).rstrip() for line in cells)])

    def as_markdown(self) -> str:
        rule = ["---", *["--:"] * (len(self.header) - 1)]
        return "\n".join("| " + " | ".join(line) + " |" for line in (self.header, rule, *self.rows))


def goals_table(rows: Sequence[Row]) -> Table:
    """Return the table of measures: measured, goal, met or missed."""
    cells = [[row.title, row.measured, row.goal, MET[row.met], row.by_cpu, row.note] for row in rows]
    header = ["measure", "measured", "goal", "", "by server's cpu", "range, or why not"]
    return Table("Measured against the goals", header, cells)


def goal_row(measure: Measure, records: Mapping[str, Record], *, judged: bool) -> Row:
    """Compare the two subjects of `measure`; without a ratio if either has no speed to tell."""
    goal = f">= {measure.goal:.2f}"
    pair = [records.get(measure.ours), records.get(measure.against)]
    for name, record in zip((measure.ours, measure.against), pair, strict=True):
        why = why_not(name, record)
        if why:
            return Row(measure.name, measure.title, "-", goal, None, note=why)
    ours, against = (record for record in pair if record is not None)
    ratio = ours.per_s / against.per_s
    each = [a.per_s / b.per_s for a, b in zip(ours.rounds, against.rounds, strict=True)]
    met = ratio >= measure.goal if judged else None
    by_cpu = f"{against.cpu_us_each / ours.cpu_us_each:.2f}"
    return Row(measure.name, measure.title, f"{ratio:.2f}", goal, met, by_cpu, f"{min(each):.2f} to {max(each):.2f}")


def why_not(name: str, record: Record | None) -> str:
    """Return why a subject has no speed to tell; empty if it has one."""
    if record is None:
        return f"{name} was left out"
    if record.wrong:
        return f"{name}: {record.wrong}"
    return f"wrk was the limit of {name}" if record.client_bound else ""


def subjects_table(records: Mapping[str, Record]) -> Table:
    """Return requests a second of everything that ran, and what each cost its server."""
    header = [
        "set-up, one increment a request",
        "req/s",
        "to bare",
        "server us/req",
        "p50 ms",
        "p99 ms",
        "loop",
        "wrk busy",
    ]
    bare = records.get("bare")
    rows = [_subject_cells(record, bare) for record in records.values()]
    return Table("Requests a second", header, rows)


def _subject_cells(record: Record, bare: Record | None) -> list[str]:
    why = why_not(record.subject.name, record)
    if why:
        return [record.subject.title, "-", "-", "-", "-", "-", record.loop, why]
    ratio = f"{record.per_s / bare.per_s:.2f}" if bare is not None and not why_not("bare", bare) else "-"
    figures = [
        f"{record.per_s:,.0f}",
        ratio,
        f"{record.cpu_us_each:.0f}",
        f"{record.p50_ms:.1f}",
        f"{record.p99_ms:.1f}",
    ]
    return [record.subject.title, *figures, record.loop, f"{record.client_busy:.0%}"]
