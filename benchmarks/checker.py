"""How long the checker takes, and how much memory, for histories of 250 thousand, 1 million and 4 million operations.

    python benchmarks/checker.py            # each size in a process of its own
    python benchmarks/checker.py 1000000    # one size

`load` reads the NDJSON file, `check` judges the operations in memory; seconds are of processor time (both are one
thread that waits for nothing), so that a busy machine does not count. `MB` is the peak memory of the process after
each. No time is printed for a history that is not judged valid. `growth` compares with the size before: 4.0 is linear.
"""

# ruff: noqa: T201 - a benchmark prints its table
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from quart_counter.lab.checker import check
from quart_counter.lab.history import Operation, load, write

SIZES = (250_000, 1_000_000, 4_000_000)
CLIENTS = 100


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


def measure(path: Path, number: int) -> str:
    """Load and check the file; the figures as words."""
    began = time.process_time()
    operations = load(path)
    loaded, load_mb = time.process_time() - began, peak_mb()
    began = time.process_time()
    verdict = check(operations)
    checked, check_mb = time.process_time() - began, peak_mb()
    if (verdict.verdict, verdict.operations) != ("valid", number):
        raise SystemExit(f"not measured: {verdict.verdict}, {verdict.reason}")
    return f"{loaded} {load_mb} {checked} {check_mb}"


def peak_mb() -> int:
    """The most memory this process has held, in MB (Linux counts it in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def in_a_process_of_its_own(number: int) -> list[float]:
    """Write the history, then measure in a fresh process, so that no other size's memory counts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.ndjson")
        write(path, history(number))
        command = (sys.executable, __file__, "--measure", str(path), str(number))
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(figure) for figure in done.stdout.split()]


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--measure"]:
        print(measure(Path(arguments[1]), int(arguments[2])))
        return
    print(f"{'operations':>12}{'load s':>9}{'MB':>7}{'check s':>9}{'MB':>7}{'load+check s':>14}{'growth of check':>17}")
    before = 0.0
    for number in map(int, arguments or SIZES):
        loaded, load_mb, checked, check_mb = in_a_process_of_its_own(number)
        growth = f"{checked / before:.2f}" if before else ""
        print(
            f"{number:>12,}{loaded:>9.2f}{load_mb:>7.0f}{checked:>9.2f}{check_mb:>7.0f}"
            f"{loaded + checked:>14.2f}{growth:>17}",
            flush=True,
        )
        before = checked


if __name__ == "__main__":
    main(sys.argv[1:])
