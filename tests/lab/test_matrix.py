"""The matrix says what was measured, and fails when a store does not keep what it declares."""

import asyncio
import json
import re
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner
from servers import KINDS, require

from quart_counter import cli
from quart_counter.lab import matrix
from quart_counter.lab.history import Operation
from quart_counter.lab.matrix import COLUMNS, QUICK, Row, expected, measure, status, table
from quart_counter.lab.matrix.house import House
from quart_counter.lab.matrix.price import Price, price_of
from quart_counter.local import redis
from quart_counter.local.process import ServerMissing
from quart_counter.settings.modes import MODES
from quart_counter.stores.memory import MemoryStore

COMMAND = [sys.executable, "-m", "quart_counter", "matrix"]
LOCK = asdict(MemoryStore.guarantees)
AS_LOCK = expected("lock", LOCK)


@pytest.fixture(scope="module")
def quick() -> tuple[list[dict], int, float]:
    """The whole matrix, quickly, once for all tests: rows, exit status, seconds."""
    for kind in KINDS:
        require(kind)
    start = time.monotonic()
    done = subprocess.run([*COMMAND, "--quick", "--json"], capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)["rows"], done.returncode, time.monotonic() - start


@pytest.mark.timeout(400)  # a minute on two idle cores; the machine may be busy
def test_every_row_is_as_its_store_declares(quick):
    rows, returned, _ = quick
    assert [(row["mode"], row["differs"], row["missing"], row["troubles"]) for row in rows] == [
        (mode, [], None, {}) for mode in MODES
    ]
    assert returned == 0


def test_every_cell_was_measured(quick):
    for row in quick[0]:
        assert set(row["expected"]) == set(COLUMNS)
        assert set(row["measured"]) == {*COLUMNS, "price"}
        assert not {None, "INCONCLUSIVE"} & {row["measured"][column] for column in COLUMNS}


def test_only_what_counts_right_has_a_price(quick):
    for row in quick[0]:
        price = row["measured"]["price"]
        assert (price is not None) == (row["measured"]["right_1"] == "SAFE"), row["mode"]
        assert price is None or (price["per_s"] > 0 and price["p99_ms"] > 0 and price["to_bare"] > 0)


def test_the_answers_of_the_question_stand_in_it(quick):
    rows = {row["mode"]: row["measured"] for row in quick[0]}
    assert rows["g"]["scope"] == rows["app-context"]["scope"] == "request"
    assert rows["cookie"]["scope"] == rows["session"]["scope"] == "client"
    assert (rows["bare"]["right_1"], rows["bare"]["right_2"]) == ("SAFE", "RACY")
    for mode in ("redis", "sqlite", "postgres", "mysql", "memcached", "manager", "file"):
        assert (rows[mode]["scope"], rows[mode]["right_2"], rows[mode]["worker_kill"]) == ("processes", "SAFE", True)
    assert (rows["memcached"]["store_restart"], rows["postgres"]["store_kill"]) == (False, True)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("field", "value", "columns"),
    [
        ("durable", "crash", {"store_restart", "store_kill"}),
        ("scope", "host", {"scope", "right_2", "worker_kill"}),
        ("exactly_once", False, {"exactly_once"}),
        ("atomic", False, {"right_1"}),
    ],
)
def test_a_false_declaration_fails_the_command(monkeypatch, field, value, columns):
    monkeypatch.setattr(House, "promises", property(lambda house: {**house.service.guarantees, field: value}))
    answer = CliRunner().invoke(cli.main, ["matrix", "--quick", "--json", "lock"])
    (row,) = json.loads(answer.stdout)["rows"]
    assert set(row["differs"]) == columns
    assert answer.exit_code == 1


@pytest.mark.timeout(120)
def test_a_missing_server_says_how_to_get_it(monkeypatch):
    def nowhere() -> list[str]:
        raise ServerMissing(redis.REMEDY)

    monkeypatch.setattr(redis, "find", nowhere)
    answer = CliRunner().invoke(cli.main, ["matrix", "--quick", "redis", "g"])
    assert answer.exit_code == 2
    assert f"NOT HERE: redis: {redis.REMEDY}" in answer.output
    assert "1 of 2 rows are as their stores declare" in answer.output


def test_an_unknown_mode_is_named():
    answer = CliRunner().invoke(cli.main, ["matrix", "abacus"])
    assert (answer.exit_code, "there is no mode 'abacus'" in answer.output) == (2, True)


def measured(**otherwise: object) -> Row:
    row = Row("lock", LOCK, AS_LOCK, {**AS_LOCK, **otherwise})
    row.price = Price(1000.0, 2.5).document(Price(2000.0, 1.0))
    return row


def test_two_beats_one_beats_three_beats_zero():
    good, broken, is_open = measured(), measured(store_kill=True), measured(right_1="INCONCLUSIVE")
    missing = Row("redis", missing="no Redis on this machine")
    assert status([good]) == 0
    assert status([good, is_open]) == 3
    assert status([good, is_open, broken]) == 1
    assert status([good, is_open, broken, missing]) == 2
    assert status([good], complete=False) == 3


@pytest.mark.parametrize(("answers", "last", "survived"), [
    ((1, 2, 3), 3, True),
    ((1, 2, 4), 4, True),  # a reply was lost and its request sent again: too much is not lost
    ((1, 2, 1), 1, False),
    ((1, 2, 3), 2, False),
])  # fmt: skip
def test_what_counts_wrong_can_still_keep_what_it_answered(answers, last, survived):
    adds = [
        Operation(0, "add", "n", 1, None, None, 10 * i, 10 * i + 5, "ok", False, n, n) for i, n in enumerate(answers)
    ]
    read = Operation(0, "read", "n", 0, None, None, 90, 95, "ok", False, last, last)
    assert matrix.trials.kept([*adds, read]) is survived


def test_a_host_s_number_is_seen_as_shared_by_processes():
    row = Row("sqlite", {}, {**AS_LOCK, "scope": "host"}, {**AS_LOCK, "scope": "processes"})
    assert not row.differs("scope")
    row.measured["scope"] = "process"
    assert row.differs("scope")


@pytest.mark.parametrize("draw", [table.text, table.markdown])
def test_a_cell_that_differs_is_marked(draw):
    told = "\n".join(draw([measured(store_kill=True)]))
    assert "survives (declared: lost)" in told
    assert "NOT AS DECLARED: lock, store kill -9 [2]: survives, declared: lost" in told


async def nothing(*_: object) -> None:
    """Stands in for the measuring where the drawing is tested."""


@pytest.mark.parametrize(("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_colours_are_for_terminals_that_want_them(monkeypatch, environ, coloured):
    monkeypatch.setattr(table, "measure", nothing)
    monkeypatch.setattr(table, "_rows", lambda modes: [measured()])
    answer = CliRunner(env={"NO_COLOR": None, "TERM": "xterm", **environ}).invoke(cli.main, ["matrix"], color=True)
    assert ("\x1b" in answer.stdout) is coloured


def test_markdown_has_no_colours():
    assert "\x1b" not in "\n".join(table.markdown([measured(store_kill=True)]))


def test_there_is_no_bar_where_there_is_no_terminal():
    plain = subprocess.run([*COMMAND, "--quick", "g"], capture_output=True, text=True, check=True)
    assert (plain.stderr, "\x1b" in plain.stdout) == ("", False)


def test_power_loss_is_never_said_to_be_tested():
    row = Row("sqlite", {**LOCK, "scope": "host", "durable": "power_loss"}, AS_LOCK, dict(AS_LOCK))
    assert "Power loss: configured, not tested (sqlite)." in "\n".join(table.text([row]))


async def test_wrong_answers_have_no_price(monkeypatch):
    async def wrong(*_: object) -> None:
        return None

    house = await House.build("bare")
    try:
        await house.mend()
        assert await price_of(house.service.url, matrix.trials.target(house, "one"), 64) is not None
        monkeypatch.setattr(matrix, "price_of", wrong)
        row = Row("bare", LOCK, AS_LOCK, {"right_1": "SAFE"})
        assert await matrix._price_of(row, QUICK, house) is None
    finally:
        await house.aclose()
    assert row.measured["right_1"] == "RACY"
    assert "there is no speed to tell" in row.troubles["price"]


async def test_a_number_that_goes_wrong_under_load_has_no_price():
    house = await House.build("unguarded")
    try:
        await house.mend()
        assert await price_of(house.service.url, matrix.trials.target(house, "one"), 64) is None
    finally:
        await house.aclose()


async def test_no_result_in_time_is_no_verdict():
    async def never() -> None:
        await asyncio.Event().wait()

    row = Row("lock", LOCK, AS_LOCK)
    plan = matrix.Plan(clients=2, requests=2, priced=2, together=1, patience_s=0.01)
    await matrix._cell(row, "right_1", never, plan, lambda mode, column: None)
    assert (row.measured, status([row])) == ({"right_1": None}, 3)
    assert row.troubles == {"right_1": "no result within 0 s"}


@pytest.mark.timeout(120)
async def test_what_is_learnt_stays_when_it_is_cancelled():
    row, heard = Row("g"), asyncio.Event()
    task = asyncio.create_task(measure([row], QUICK, lambda mode, column: heard.set()))
    await heard.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert row.measured == {"scope": "request"}


def test_ctrl_c_prints_what_was_learnt(monkeypatch):
    async def interrupted(rows: list[Row], *_: object) -> None:
        rows[1].promises, rows[1].expected, rows[1].measured = LOCK, AS_LOCK, {"scope": "process"}
        raise KeyboardInterrupt

    monkeypatch.setattr(table, "measure", interrupted)
    answer = CliRunner().invoke(cli.main, ["matrix", "bare", "lock", "g", "--json"])
    assert [row["mode"] for row in json.loads(answer.stdout)["rows"]] == ["lock"]
    assert "interrupted: 1 of 3 rows were begun" in answer.stderr
    assert answer.exit_code == 3


def carried(page: str) -> dict[str, list[str]]:
    """Every cell of the table in a page but the price, which is another one on every machine."""
    text = (Path(__file__).parents[2] / page).read_text().partition("<!-- quart-counter matrix")[2]
    lines = re.findall(r"^\| `(.+?)` \| (.+) \|$", text.partition("<!-- end -->")[0], re.MULTILINE)
    return {mode: cells.split(" | ")[: len(COLUMNS)] for mode, cells in lines}


def test_the_pages_carry_this_table(quick):
    measured = {
        row["mode"]: [str(row["expected"]["scope"])]
        + [table._word(column, row["measured"][column]) for column in COLUMNS if column != "scope"]
        for row in quick[0]
    }
    assert carried("docs/every-answer-run.md") == measured
    to_use = {mode: cells for mode, cells in measured.items() if not MODES[mode].exhibit}
    assert carried("README.md") == to_use
