"""The lanes: what a person sees of a witness."""

import random
import re

import pytest
from histories import CASES, add, lost, op, put, read, refused, take

from quart_counter.lab.lanes import WIDTH, draw, elapsed, label


def lane(drawing, process):
    return next(row for row in drawing.splitlines() if row.startswith(f"process {process} "))


def columns(drawing, process):
    """The first and the last column of a process's bar."""
    row = lane(drawing, process)
    return row.index("|"), row.rindex("|")


def test_nothing_to_draw():
    """No operation, no lanes."""
    assert draw([]) == ""


def test_a_lane_a_process_and_an_axis():
    """The picture in the module's words, to the letter."""
    drawing = draw([add(0, 60, 2)._replace(process=1), add(20, 80, 2)._replace(process=2)])
    assert drawing == "\n".join(
        [
            "process 1  |------------------------- add 1 -> 2 --------------------------|",
            "process 2                        |------------------------- add 1 -> 2 --------------------------|",
            "           0                     20 ns                                     60 ns               80 ns",
        ]
    )


def test_what_came_first_is_always_seen():
    """A nanosecond beside an hour: the columns still tell before from after, and the same instant is one column."""
    hour = 3_600 * 10**9
    drawing = draw([add(0, 10, 1), add(11, hour, 2), read(10, 11, 1)])
    (_, first_end), (second_start, _), (third_start, third_end) = (columns(drawing, n) for n in (0, 11, 10))
    assert first_end == third_start < third_end == second_start
    assert "3600 s" in drawing


def test_an_unknown_return_is_open_ended():
    """No bar closes it, it runs to the right edge."""
    drawing = draw([lost(5), add(0, 9, 2)])
    assert lane(drawing, 5).count("|") == 1
    assert lane(drawing, 5).rstrip().endswith("- -")
    assert "add 1 -> ?" in lane(drawing, 5)


def test_one_process_after_itself_stays_in_its_lane():
    """Two calls of one caller, one row; overlapping ones (which no sane caller makes) get a second."""
    one, two, three = (add(*times, 1)._replace(process=1) for times in ((0, 40), (60, 100), (10, 70)))
    assert draw([one, two]).count("process 1") == 1
    assert draw([one, two, three]).count("process 1") == 2


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (add(0, 1, 5, by=2), "add 2 -> 5"),
        (add(0, 1, 5, version=9), "add 1 -> 5 (version 9)"),
        (take(0, 1, 5, limit=9), "take 1 within 9 -> 5"),
        (refused(0, 1, by=-1, limit=0), "take -1 within 0: refused"),
        (put(0, 1, 7), "set 7 -> 7"),
        (op("set", 0, None, outcome="info", value=7), "set 7 -> ?"),
        (read(0, 1, 3), "read -> 3"),
        (op("add", 0, 1, by=1, outcome="fail"), "add 1: failed"),
    ],
)
def test_labels(operation, words):
    """Asked and answered, in as few words as can be read."""
    assert label(operation) == words


@pytest.mark.parametrize(
    ("nanoseconds", "words"),
    [(0, "0"), (40, "40 ns"), (1_500, "1.5 us"), (40_000, "40 us"), (1_250_000, "1.25 ms"), (3 * 10**9, "3 s")],
)
def test_times(nanoseconds, words):
    """The largest unit that keeps it above 1."""
    assert elapsed(nanoseconds) == words


def test_never_wider_than_the_page_and_plain_ascii():
    """Whatever the operations, up to absurd numbers and many at once: 100 columns, ASCII, no control characters."""
    rng = random.Random(4)
    pools = [case.operations for case in CASES if case.operations]
    wild = [
        op("take", 5, 5 + 10**17, by=-(2**31), value=-(2**53), limit=-(2**53), version=2**53)._replace(process=10**30)
    ]
    for _ in range(300):
        chosen = [one for pool in rng.sample(pools, 2) for one in pool] + wild * rng.randrange(2)
        chosen = [one._replace(name="\x1b[31m", key="\n") for one in chosen]
        for row in draw(chosen).splitlines():
            assert re.fullmatch(rf"[ -~]{{1,{WIDTH}}}", row), row
