"""The benchmarks tell no speed of what counts wrong, and run as their users run them."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from servers import require_program

from benchmarks import board
from benchmarks.__main__ import status
from benchmarks.measures import MEASURES, SUBJECTS, subjects_of
from benchmarks.parts import Result, with_records
from benchmarks.profile_by_room import package
from benchmarks.report import goal_row, subjects_table
from benchmarks.rounds import Record, why_wrong
from benchmarks.servers import ROOT
from benchmarks.wrk import Round

HERE = Path(__file__).parent
BARE = next(one for one in SUBJECTS if one.name == "bare")


@pytest.fixture
def _wrk() -> None:
    require_program("wrk")


def a_round(**differences) -> Round:
    return replace(Round(1000, 1.0, 0, 0, 1.0, 2.0, 0.1), **differences)


@pytest.mark.parametrize("counted", [1000, 1063, 1064])
def test_a_total_may_hold_what_was_in_flight(counted):
    assert why_wrong(a_round(), counted, clients=64) == ""


@pytest.mark.parametrize("counted", [999, 1065, 0, 2000])
def test_any_other_total_is_wrong(counted):
    assert why_wrong(a_round(), counted, clients=64) == f"wrk saw 1000 answers, and the total grew by {counted}"


@pytest.mark.parametrize("trouble", [{"refused": 1}, {"socket_errors": 1}, {"requests": 0}])
def test_a_round_with_errors_is_wrong(trouble):
    assert why_wrong(a_round(**trouble), trouble.get("requests", 1000), clients=64)


def command_of_the_bug(port, stores):
    """The bare peer's own command, for an app that miscounts."""
    command = [word.replace("benchmarks.peers.bare", "miscounting") for word in BARE.server.command(port, stores)]
    return [f"PYTHONPATH={ROOT}:{HERE}", *command]


@pytest.mark.usefixtures("_wrk")
def test_no_speed_is_told_of_a_peer_that_miscounts():
    bug = replace(
        BARE, name="redis", title="a bug", server=replace(BARE.server, name="bug", command=command_of_the_bug)
    )
    records = board.measure([BARE, bug], rounds=1, seconds=1, say=lambda _: None)
    told = {line.split("  ")[0]: line for line in subjects_table(records).as_text().splitlines()}
    assert re.search(r" \d\.\d\d ", told[BARE.title]), "the other one's speed is told"
    assert "the total grew by" in told["a bug"]
    assert not re.search(r"\d[.,]\d", told["a bug"])
    with pytest.raises(ValueError, match="has no speed"):
        _ = records["redis"].per_s
    row = goal_row(MEASURES[0], records, judged=True)
    assert (row.measured, row.met) == ("-", None)
    assert status([with_records(Result([row]), records)]) == 1


def test_a_busy_client_is_no_measure_of_the_server():
    bound = Record(BARE, rounds=[a_round(client_busy=0.95)], cpu_us=[1.0])
    free = Record(replace(BARE, name="redis"), rounds=[a_round()], cpu_us=[1.0])
    row = goal_row(MEASURES[0], {"redis": free, "bare": bound}, judged=True)
    assert (row.measured, row.note) == ("-", "wrk was the limit of bare")
    assert status([with_records(Result([row]), {"bare": bound})]) == 3


def test_a_missed_goal_is_told():
    slow = Record(replace(BARE, name="redis"), rounds=[a_round(requests=849)], cpu_us=[1.0])
    records = {"redis": slow, "bare": Record(BARE, rounds=[a_round()], cpu_us=[1.0])}
    missed = goal_row(MEASURES[0], records, judged=True)
    assert (missed.measured, missed.met, status([with_records(Result([missed]), records)])) == ("0.85", False, 1)
    assert goal_row(MEASURES[0], records, judged=False).met is None


def test_a_measure_alone_has_two_subjects():
    assert [one.name for one in subjects_of(["keys"])] == ["keys-sent", "keys-unsent"]
    assert all(len(subjects_of([measure.name])) == 2 for measure in MEASURES)
    assert subjects_of(["peers"]) == list(SUBJECTS)


@pytest.mark.parametrize(
    ("path", "whose"),
    [
        ("~", "built-in functions"),
        ("/usr/lib/python3.11/site-packages/h11/_connection.py", "h11"),
        ("/usr/lib/python3.11/asyncio/taskgroups.py", "Python's asyncio"),
        ("/usr/lib/python3.11/re/__init__.py", "Python's re"),
        ("/home/someone/quart_counter/web/shortcut.py", "quart_counter.web"),
        ("/home/someone/benchmarks/peers/bare.py", "benchmarks.peers"),
        ("/usr/lib/python3.11/asyncio/streams.py", "writing to sockets (uvloop, the kernel)"),
        ("<string>", "other"),
    ],
)
def test_whose_function_it_is(path, whose):
    assert package(path, "write") == whose


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)


@pytest.mark.usefixtures("_wrk")
def test_the_command_runs():
    done = run("names", "--quick")
    assert done.returncode == 0, done.stderr
    assert re.search(r"64 clients on 64 counters.* +\d+\.\d\d +>= 0\.85", done.stdout)


def test_a_word_that_is_no_measure():
    done = run("nmaes")
    assert done.returncode == 2
    assert "there is no measure 'nmaes'; there are redis, " in done.stderr
