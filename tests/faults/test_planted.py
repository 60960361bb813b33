"""A suite that catches nothing proves nothing: each planted bug is caught by its row, in the row's short form."""

import asyncio

import pytest
from servers import require

from faults.planted import BUGS, planted
from faults.rows import ROWS
from faults.table import Result

SEED = 7


@pytest.mark.parametrize("name", BUGS)
def test_the_bug_is_caught(name, capsys):
    if "redis" in BUGS[name].row:
        require("redis")
    with planted(name) as bug:
        result = asyncio.run(ROWS[bug.row].run(bug.size, SEED))
    with capsys.disabled():
        print(f"\n  {name}: {bug.says}; caught by {bug.row}: {why(result)}")  # noqa: T201
    assert not result.passed


def why(result: Result) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in result.anomalies.items() if count)
    return "; ".join([f"{result.verdict} ({counts})" if counts else result.verdict, *result.misses, *result.notes])
