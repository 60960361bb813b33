"""A row run alone joins the others in the document, and none can hang."""

import asyncio

import pytest

from faults import rig, table
from faults.crowd import Crowd
from faults.rows import CONTRAST, ROWS
from faults.table import Result, Size

PLANS = {name: row.full for name, row in {**ROWS, **CONTRAST}.items()}
FRAME = "# Before\n<!-- rows -->\n<!-- end of rows -->\nafter\n"


def result(row: str, **numbers: object) -> Result:
    return Result(row, 1, Size(10, 2), verdict="valid", **{"changes": 1000, "faults": 2, "in_flight": 30, **numbers})


def test_a_row_replaces_its_own_line_and_no_other(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(FRAME)
    table.write(page, [result("take-redis", notes=["one", "two"]), result("naive-incr")], PLANS)
    table.write(page, [result("healthy-redis", in_flight=70)], PLANS)
    before = page.read_text()
    table.write(page, [result("healthy-redis", changes=5, in_flight=1_970, notes=["new"])], PLANS)
    text = page.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("after\n")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert [line.split("`")[1] for line in lines] == ["healthy-redis", "take-redis", "naive-incr"], "the suite's order"
    assert "In all: 2,000 changes, 4 faults, 100 requests in flight" in before
    assert "In all: 1,005 changes, 4 faults, 2,000 requests in flight" in text
    assert [line for line in before.splitlines() if "healthy" not in line and "In all" not in line] == [
        line for line in text.splitlines() if "healthy" not in line and line != "  - new" and "In all" not in line
    ]
    assert text.count("  - one\n  - two\n") == text.count("  - new\n") == 1


def test_a_page_without_a_place_for_rows_says_so(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(AssertionError, match="has no <!-- rows -->"):
        table.write(page, [], PLANS)


async def test_a_row_whose_clients_hear_nothing_ends(monkeypatch):
    monkeypatch.setattr(rig, "STANDSTILL_S", 1)
    with pytest.raises(TimeoutError):
        async with rig.kept_going(Crowd("http://127.0.0.1:1")):
            await asyncio.Event().wait()


async def test_a_row_that_gets_on_is_let_be(monkeypatch):
    monkeypatch.setattr(rig, "STANDSTILL_S", 2)
    crowd = Crowd("http://127.0.0.1:1")
    async with rig.kept_going(crowd):
        for _ in range(8):
            await asyncio.sleep(0.5)
            crowd.operations.append(None)
