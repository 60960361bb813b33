"""How long the checker takes, and how much memory, for histories of 250 thousand, 1 million and 4 million operations.

    python -m benchmarks.checker            # each size in a process of its own
    python -m benchmarks.checker 1000000    # one size

`load` reads the NDJSON file, `check` judges the operations in memory; seconds are of processor time (both are one
thread that waits for nothing), so that a busy machine does not count. `MB` is the peak memory of the process after
each. No time is printed for a history that is not judged valid. `growth` compares with the size before: 4.0 is linear.
"""

# ruff: noqa: T201 - a benchmark prints its table
from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.report import Row, Table
from quart_counter.lab.checker import check
from quart_counter.lab.history import Operation, load, write

SIZES: Final = (250_000, 1_000_000, 4_000_000)
JUDGED: Final = SIZES[:2]
CLIENTS: Final = 100
ROOT: Final = Path(__file__).resolve().parent.parent


class Cost(NamedTuple):
    """Seconds of processor time, and the process's peak memory after it."""

    load_s: float
    load_mb: float
    check_s: float
    check_mb: float


def history(number: int) -> Iterator[Operation]:
    """A true counter under CLIENTS overlapping clients: adds of 1, each answered with value and version."""
    rng = random.Random(number)
    now = 10**12
    free_at = [now] * CLIENTS
    for value in range(1, number + 1):
        client = rng.randrange(CLIENTS)
        call = max(free_at[client], now - rng.randrange(150_000))
        now = max(now, call) + rng.randrange(1, 4_000)
        free_at[client] = now + rng.randrange(100_000)
        yield Operation(client, "add", "tickets", 1, None, None, call, free_at[client], "ok", False, value, value)


def measure(path: Path, number: int) -> Cost:
    """Load and check the file. Ends the process where the verdict is not valid."""
    began = time.process_time()
    operations = load(path)
    loaded, load_mb = time.process_time() - began, peak_mb()
    began = time.process_time()
    verdict = check(operations)
    checked, check_mb = time.process_time() - began, peak_mb()
    if (verdict.verdict, verdict.operations) != ("valid", number):
        raise SystemExit(f"not measured: {verdict.verdict}, {verdict.reason}")
    return Cost(loaded, load_mb, checked, check_mb)


def peak_mb() -> int:
    """The most memory this process has held, in MB (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def in_a_process_of_its_own(number: int) -> Cost:
    """Write the history, then measure in a fresh process, so that no other size's memory counts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.ndjson")
        write(path, history(number))
        command = (sys.executable, "-m", "benchmarks.checker", "--measure", str(path), str(number))
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(*map(float, done.stdout.split()))


def table(sizes: Sequence[int], costs: Sequence[Cost]) -> Table:
    """A row a size; `growth of check` is how much longer than the size before."""
    header = ["operations", "load s", "MB", "check s", "MB", "load+check s", "growth of check"]
    rows = []
    for i, (size, cost) in enumerate(zip(sizes, costs, strict=True)):
        figures = [f"{cost.load_s:.2f}", f"{cost.load_mb:.0f}", f"{cost.check_s:.2f}", f"{cost.check_mb:.0f}"]
        growth = f"{cost.check_s / costs[i - 1].check_s:.2f}" if i else ""
        rows.append([f"{size:,}", *figures, f"{cost.load_s + cost.check_s:.2f}", growth])
    return Table("The checker", header, rows)


def goal_rows(costs: Sequence[Cost], *, judged: bool) -> list[Row]:
    """Judge the second of two sizes, four times the first: its time, its memory, and the growth."""
    small, large = costs
    figures = [
        ("checker, 1,000,000 parsed operations: seconds", large.check_s, 1.5, "{:.2f}"),
        ("checker, 1,000,000 parsed operations: MB at most", large.check_mb, 400, "{:.0f}"),
        ("checker, four times the work: times the time", large.check_s / small.check_s, 5, "{:.2f}"),
    ]
    return [
        Row("checker", title, form.format(figure), f"<= {goal:g}", figure <= goal if judged else None)
        for title, figure, goal, form in figures
    ]


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--measure"]:
        print(*measure(Path(arguments[1]), int(arguments[2])))
        return
    sizes = [int(size) for size in arguments or SIZES]
    print(table(sizes, [in_a_process_of_its_own(size) for size in sizes]).as_text())


if __name__ == "__main__":
    main(sys.argv[1:])
