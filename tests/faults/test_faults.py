"""The fault suite in its short form: every row, judged; the figures come from the long one (tests/faults/run.py)."""

import asyncio

import pytest
from servers import require

from faults import table
from faults.rows import CONTRAST, ROWS
from faults.table import Result, Size

SEED = 1
SERVERS = {
    "redis": "redis",
    "cluster": "redis",
    "sentinel": "redis",
    "postgres": "postgres",
    "mysql": "mariadb",
    "memcached": "memcached",
}


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(table, "KEEP", tmp_path)


def run(row: str, size: Size) -> Result:
    for word, server in SERVERS.items():
        if word in row or (word == "redis" and row == "naive-incr"):
            require(server)
    return asyncio.run({**ROWS, **CONTRAST}[row].run(size, SEED))


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if row.in_ci])
def test_it_holds(row):
    result = run(row, ROWS[row].short)
    # How fast a worker is replaced is for the long run to say, on a machine that does nothing else.
    misses = [miss for miss in result.misses if "replacements took" not in miss]
    if ROWS[row].must_hold:
        assert (result.verdict, misses) == ("valid", []), result.notes
    assert result.verdict != "unknown"


def test_what_a_failover_lost_is_reported():
    """The opposite of all that holds: a cluster says yes and forgets, and the judge tells."""
    result = run("cut-failover-cluster-default", Size(300, 1))
    assert result.verdict == "invalid"
    assert result.anomalies["lost"] > 0
    assert result.anomalies["duplicate"] > 0


def test_whoever_waits_for_a_replica_loses_nothing_then():
    result = run("cut-failover-cluster-wait", Size(300, 1))
    assert (result.verdict, result.misses) == ("valid", []), result.notes


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("row", ROWS)
def test_it_holds_in_full(row):
    result = run(row, ROWS[row].full)
    assert result.passed or not ROWS[row].must_hold, result.misses + result.notes


def test_what_people_write_instead_counts_too_often():
    result = run("naive-incr", CONTRAST["naive-incr"].short)
    assert result.anomalies["overcount"] > 0
