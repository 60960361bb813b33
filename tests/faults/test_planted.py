"""A suite that catches nothing proves nothing: each planted bug is caught by its row, in the row's short form."""

import asyncio

import pytest
from servers import require

from faults.planted import BUGS, planted
from faults.rows import ROWS
from faults.table import Result, Size

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


@pytest.mark.parametrize("row", sorted({(bug.row, *bug.size) for bug in BUGS.values()}), ids=lambda row: row[0])
def test_without_the_bug_the_same_run_passes(row):
    """Else the bug above would not be what was caught."""
    name, ops, faults = row
    if "redis" in name:
        require("redis")
    result = asyncio.run(ROWS[name].run(Size(ops, faults), SEED))
    assert result.passed, result.misses


def why(result: Result) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in result.anomalies.items() if count)
    return "; ".join([f"{result.verdict} ({counts})" if counts else result.verdict, *result.misses, *result.notes])
