"""How long it takes to move counters in and out, and in how much memory.

    python benchmarks/transfer.py                  # 100,000 and a million counters, in Redis and SQLite
    python benchmarks/transfer.py 5000 sqlite      # so many, in one of them

Each command runs as users run it, in a process of its own; `MB` is the peak memory of that process, and `again` is the
same import a second time, which finds every counter there already. Redis is a private one with `appendfsync everysec`.
No time is printed unless the file that came out is, byte for byte, the one that went in.
"""

# ruff: noqa: T201 - a benchmark prints its table
import filecmp
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from quart_counter.local.redis import private_redis
from quart_counter.transfer.rows import Row, to_line

SIZES = (100_000, 1_000_000)
STORES = ("redis", "sqlite")


class Run(NamedTuple):
    """What one command took."""

    seconds: float
    mb: float


@contextmanager
def fresh(store: str, folder: Path) -> Iterator[str]:
    """Give the URL of an empty store."""
    if store == "sqlite":
        yield f"sqlite:{folder}/counters.db"
        return
    with private_redis(appendonly="everysec") as server:
        yield server.url


def write(path: Path, number: int) -> None:
    """Write `number` counters as export would."""
    with path.open("wb") as file:
        file.writelines(to_line(Row(f"c{i:09}", 7 * i - number, i + 1)) for i in range(number))


def run(*arguments: str) -> Run:
    """Run a command to its end, which must be a good one."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "quart_counter", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit(f"not measured: {' '.join(arguments)}: {said}")
    return Run(time.monotonic() - began, usage.ru_maxrss / 1024)


def measure(store: str, number: int) -> list[Run]:
    """Import, import again, export; compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        there, back = folder / "there.ndjson", folder / "back.ndjson"
        write(there, number)
        with fresh(store, folder) as url:
            runs = [run("import", str(there), "--url", url) for _ in range(2)]
            runs.append(run("export", str(back), "--url", url))
        if not filecmp.cmp(there, back, shallow=False):
            raise SystemExit(f"not measured: what came out of {store} is not what went in")
        return runs


def main(arguments: list[str]) -> None:
    sizes = [int(one) for one in arguments if one.isdigit()] or SIZES
    stores = [one for one in arguments if not one.isdigit()] or STORES
    print(f"{'store':<8}{'counters':>12}{'import s':>10}{'MB':>6}{'again s':>10}{'MB':>6}{'export s':>10}{'MB':>6}")
    for store in stores:
        for number in sizes:
            figures = "".join(f"{one.seconds:>10.1f}{one.mb:>6.0f}" for one in measure(store, number))
            print(f"{store:<8}{number:>12,}{figures}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
