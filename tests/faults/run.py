"""Run the fault suite: `python tests/faults/run.py [ROW ...] [--full] [--seed N]`; without a row, all of them.

Exit status: 0 all rows kept their promise, 1 one did not, 2 usage.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from faults import table
from faults.rows import CONTRAST, ROWS, Row
from faults.table import Result, Size, say


def main() -> int:
    every = {**ROWS, **CONTRAST}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="one of: " + ", ".join(every))
    parser.add_argument("--full", action="store_true", help="the sizes of issue 5 (hours on a small machine)")
    parser.add_argument("--scale", type=float, default=1.0, help="this part of the full sizes")
    parser.add_argument("--ops", type=int, help="at least so many operations")
    parser.add_argument("--faults", type=int, help="so many faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=table.KEEP, help="folder for the histories")
    parser.add_argument("--write", type=Path, help="put each row, when it is done, into this document's table")
    given = parser.parse_args()
    wrong = set(given.rows) - set(every)
    if wrong:
        parser.error(f"there is no row {', '.join(sorted(wrong))}; there are {', '.join(every)}")
    table.KEEP = given.keep
    results = []
    for name in given.rows or every:
        row = every[name]
        result = asyncio.run(_timed(row, _size(row, given), given.seed))
        results.append(result)
        table.save(result)
        if given.write:
            table.write(given.write, [result], {name: row.full for name, row in every.items()})
        say(f"{table.plain([result])}\n" + "\n".join(f"    {note}" for note in result.notes))
    say("\n" + table.plain(results) + f"\nhistories: {table.KEEP}")
    return 0 if all(result.passed for result in results if every[result.row].must_hold) else 1


def _size(row: Row, given: argparse.Namespace) -> Size:
    size = row.full if given.full or given.scale != 1.0 else row.short
    size = Size(max(row.short.ops, int(size.ops * given.scale)), max(row.short.faults, int(size.faults * given.scale)))
    return Size(size.ops if given.ops is None else given.ops, size.faults if given.faults is None else given.faults)


async def _timed(row: Row, size: Size, seed: int) -> Result:
    began = time.monotonic()
    result = await row.run(size, seed)
    result.seconds = time.monotonic() - began
    return result


if __name__ == "__main__":
    sys.exit(main())
