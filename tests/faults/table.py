"""What a row gave: judged by the checker, one line of a table, and the history that anybody can judge again."""

import json
import re
import shlex
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

from faults.crowd import Crowd
from quart_counter.lab import history
from quart_counter.lab.checker import check

HEAD = ("row", "changes", "faults", "in flight", "lost", "dup.", "out of order", "unknown", "left", "bound", "verdict")
NOT_OURS = ("naive-incr",)
KEEP = Path(gettempdir()) / "quart-counter-faults"


class Size(NamedTuple):
    """How much of a row to run: at least so many operations, and so many faults."""

    ops: int
    faults: int = 0


@dataclass
class Result:
    """One row's outcome.

    `changes`: those acknowledged, each key once. `in_flight`: requests that waited for their answer at the faults, in
    all. `unknown`: attempts that ended without a definite answer; those with a key are sent again under it. `left`:
    changes still unknown at the end. `misses`: what the row promises and did not keep, a sentence each.
    """

    row: str
    seed: int
    asked: Size
    changes: int = 0
    faults: int = 0
    in_flight: int = 0
    anomalies: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    left: int = 0
    verdict: str = ""
    misses: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M"))

    @property
    def passed(self) -> bool:
        return self.verdict == "valid" and not self.misses

    @property
    def command(self) -> str:
        scale = f"--ops {self.asked.ops}" + (f" --faults {self.asked.faults}" if self.asked.faults else "")
        return f"python tests/faults/run.py {shlex.quote(self.row)} {scale} --seed {self.seed}"

    def cells(self) -> list[str]:
        counts = self.anomalies
        duplicated = counts.get("duplicate", 0) + counts.get("overcount", 0)
        numbers = (self.changes, self.faults, self.in_flight, counts.get("lost", 0), duplicated)
        more = (counts.get("out_of_order", 0), self.unknown, self.left)
        bound = f"{3 / self.changes:.1e}" if self.changes else "-"
        verdict = self.verdict + (", " + "; ".join(self.misses) if self.misses else "")
        return [self.row, *(f"{number:,}" for number in (*numbers, *more)), bound, verdict]

    def miss_unless(self, kept: bool, sentence: str) -> None:
        if not kept:
            self.misses.append(sentence)


def judge(result: Result, crowd: Crowd) -> Result:
    """Write the history down, judge it, and fill in what it tells."""
    KEEP.mkdir(parents=True, exist_ok=True)
    path = KEEP / f"{result.row}-{result.seed}.ndjson"
    history.write(path, crowd.operations)
    judged = check(history.load(path), start=0, start_version=0)
    result.verdict, result.anomalies = judged.verdict, judged.anomalies
    if judged.reason:
        result.notes.append(judged.reason)
    changes = [one for one in crowd.operations if one.op != "read"]
    applied = [one for one in changes if one.outcome == "ok"]
    result.changes = len({(one.name, one.key) for one in applied if one.key}) + sum(not one.key for one in applied)
    result.unknown = sum(one.outcome == "info" for one in changes)
    result.left += crowd.given_up + sum(one.outcome == "info" and not one.key for one in changes)
    result.miss_unless(crowd.given_up == 0, f"{crowd.given_up} changes were never answered")
    result.miss_unless(not crowd.surprises, "; ".join(crowd.surprises[:1]))
    return result


def plain(results: Iterable[Result]) -> str:
    """The table for a terminal."""
    rows = [HEAD, *(result.cells() for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD) - 1)]
    lines = []
    for name, *numbers, verdict in rows:
        aligned = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True))
        lines.append("  ".join([name.ljust(widths[0]), *aligned, verdict]))
    return "\n".join(lines)


def _plan(plan: Size) -> str:
    words = ((plan.ops, "operations"), (plan.faults, "faults"))
    return "plan: " + ", ".join(f"{number:,} {word}" for number, word in words if number)


def save(result: Result) -> None:
    """Keep a result beside its history, so that rows run apart come together in one document."""
    KEEP.mkdir(parents=True, exist_ok=True)
    (KEEP / f"{result.row}.json").write_text(json.dumps(asdict(result)))


def write(path: Path, results: Sequence[Result], plans: Mapping[str, Size]) -> None:
    """Put `results` between the marks `<!-- rows -->` and `<!-- end of rows -->`; other rows there stay as they are."""
    text = path.read_text()
    between = re.compile("(?<=<!-- rows -->\n).*(?=<!-- end of rows -->)", re.DOTALL)
    found = between.search(text)
    assert found, f"{path} has no <!-- rows --> to write to"
    lines, notes = _carried(found[0])
    for one in results:
        lines[one.row], notes[one.row] = _line(one), _notes(one, plans[one.row])
    path.write_text(between.sub(lambda _: _document(lines, notes, list(plans)) + "\n", text))


def _carried(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The rows that a document has: their lines of the table, and their notes."""
    lines = {name: line for line, name in re.findall(r"^(\| `([\w-]+)` \|.*)$", text, re.MULTILINE)}
    notes = {name: note for note, name in re.findall(r"^(- \*\*`([\w-]+)`\*\*.*(?:\n  .*)*)$", text, re.MULTILINE)}
    return lines, notes


def _document(lines: Mapping[str, str], notes: Mapping[str, str], order: Sequence[str]) -> str:
    rows = [name for name in order if name in lines]
    ours = [lines[name] for name in rows if name not in NOT_OURS]
    totals = [sum(_number(line, column) for line in ours) for column in ("changes", "faults", "in flight")]
    return "\n".join(
        [
            "| " + " | ".join(HEAD) + " |",
            "|---|" + "---:|" * (len(HEAD) - 2) + "---|",
            *(lines[name] for name in rows),
            "",
            "In all: {:,} changes, {:,} faults, {:,} requests in flight at the faults.".format(*totals),
            "",
            "What else was seen, and the command that repeats each row:",
            "",
            *(notes[name] for name in rows if name in notes),
        ]
    )


def _number(line: str, column: str) -> int:
    return int(line.split(" | ")[HEAD.index(column)].replace(",", ""))


def _line(one: Result) -> str:
    name, *cells = one.cells()
    return "| " + " | ".join([f"`{name}`", *cells]) + " |"


def _notes(one: Result, plan: Size) -> str:
    first = f"- **`{one.row}`** ({one.date}, {one.seconds:.0f} s; {_plan(plan)}): `{one.command}`"
    return "\n".join([first, *(f"  - {note}" for note in one.notes)])


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
