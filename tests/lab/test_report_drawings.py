"""The drawings of a page: the witness among its neighbours, the latencies, and what was under way."""

import pytest
from reported import MS, Foreign, add, apart, calls, read, right, row

from quart_counter.lab.history import max_in_flight
from quart_counter.lab.html.lanes import LANES, lanes
from quart_counter.lab.html.plots import COLUMNS, DOTS, latency, overlap
from quart_counter.lab.html.scale import Scale, percent, round_step


def at(place):
    return float(place.rstrip("%"))


def test_the_witness_is_drawn_and_marked():
    """Two got 1; the third, who was under way with them, is there without a mark; the fourth came long after."""
    of = row([add(0, 0, 10, 1), add(1, 5, 20, 1), add(2, 2, 12, 2), add(3, 90, 95, 3), read(4, 100, 101, 3)])
    drawn = lanes(calls(of))
    assert drawn.about == "witness"
    assert [(bar.call.client, bar.call.witness) for bar in drawn.bars] == [(0, True), (2, False), (1, True)]
    assert drawn.hidden == 0
    first, second, third = drawn.bars
    assert (first.left, first.width, second.left, third.left) == ("0%", "50%", "10%", "25%")
    assert at(third.left) + at(third.width) == 100


def test_of_a_crowd_the_nearest_answers_are_drawn():
    of = row([*(add(n, n / 10, 50 + n, n + 1) for n in range(40)), add(77, 0, 60, 20), read(99, 200, 201, 40)])
    drawn = lanes(calls(of))
    assert len(drawn.bars) == LANES
    assert drawn.hidden == 41 - LANES
    assert sum(bar.call.witness for bar in drawn.bars) == 2
    assert all(abs(bar.call.value - 20) <= 7 for bar in drawn.bars)


def test_without_a_witness_the_busiest_moment_is_drawn():
    """Three at once, later two."""
    of = row([add(0, 0, 10, 1), add(1, 1, 11, 2), add(2, 2, 12, 3), add(0, 30, 40, 4), add(1, 31, 41, 5)])
    drawn = lanes(calls(of))
    assert drawn.about == "busiest"
    assert [bar.call.value for bar in drawn.bars] == [1, 2, 3]


def test_a_call_that_nobody_answered_has_no_end():
    of = row([add(0, 0, None, None, "info"), add(1, 1, 11, 1), add(2, 2, 12, 1)])
    bar = lanes(calls(of)).bars[0]
    assert (bar.open_end, bar.left, bar.width) == (True, "0%", "100%")
    assert str(bar.call) == "client 0: add at 0, outcome unknown"


def test_calls_of_one_client_share_a_lane_where_there_is_room():
    """Far apart in one lane; so near that their labels would touch, in two."""
    far = [add(0, 0, 10, 1), add(0, 90, 100, 2), add(1, 0, 100, 2)]
    near = [add(0, 0, 50, 1), add(0, 51, 100, 2), add(1, 0, 100, 2)]
    assert [lane.client for lane in lanes(calls(row(far))).lanes] == [0, 1]
    assert [lane.client for lane in lanes(calls(row(near))).lanes] == [0, 1, 0]


def test_a_moment_without_length_is_drawn():
    """All at the same nanosecond: nothing is divided by nothing."""
    of = row([add(n, 5, 5, n + 1) for n in range(3)])
    assert [bar.left for bar in lanes(calls(of)).bars] == ["0%"] * 3
    assert overlap(calls(of)).most == 3
    assert latency(calls(of)).slowest == 0


def test_nothing_to_draw():
    assert lanes([]) is None
    assert latency([]) is None
    assert overlap([]) is None
    nobody = row([add(0, 0, None, None, "info")])
    assert latency(calls(nobody)) is None
    assert overlap(calls(nobody)).most == 1


def test_a_dot_for_each_call():
    """From left to right when it was sent, upwards how long it took; the second 1 is ringed, the first is not."""
    plot = latency(calls(row([add(0, 0, 100, 1), add(1, 10, 60, 1), add(2, 20, 40, 2)])))
    assert [(at(dot.x), at(dot.y), dot.again) for dot in sorted(plot.dots)] == [
        (0, 0, True),
        (100, 80, False),
        (50, 50, False),
    ]
    assert [tick.label for tick in plot.y] == ["0", "50 ms", "100 ms"]


def test_dots_are_of_their_process():
    plot = latency(calls(apart()))
    assert {dot.hue for dot in plot.dots} == {0, 1}
    assert [owner.letter for owner in plot.owners] == ["A", "B"]


def test_too_many_dots_become_shades():
    of = right(clients=100, rounds=DOTS // 100 + 1)
    plot = latency(calls(of))
    assert not plot.dots
    assert plot.calls == DOTS + 100
    assert any(plot.shades)
    assert sum(map(len, plot.shades)) < 50_000


@pytest.mark.parametrize("of", [apart(), right(), right(clients=3, rounds=5)], ids=["apart", "right", "in turns"])
def test_the_curve_reaches_what_the_certificate_says(of):
    adds = [operation for operation in of.operations if operation.op == "add"]
    plot = overlap(calls(of))
    assert plot.most == max_in_flight(adds)
    assert plot.path.startswith("M0 100")
    assert plot.path.endswith(f"H{COLUMNS}V100z")


def test_the_curve_falls_between_two_rounds():
    """100 ms with three, then a pause with nobody, then one."""
    of = row([*(add(n, 0, 100, n + 1) for n in range(3)), add(0, 300, 400, 4)])
    heights = overlap(calls(of)).path
    assert "V100.0" in heights
    assert heights.count("H") == 3  # down, up, and the edge


def test_round_numbers_on_the_axes():
    assert [round_step(least) for least in (0.3, 1, 1.5, 3, 6, 70, 101)] == [1, 1, 2, 5, 10, 100, 200]
    ticks = Scale(5 * MS, 105 * MS).ticks(4, finer=5)
    assert [tick.label for tick in ticks if not tick.fine] == ["0", "50 ms", "100 ms"]
    assert [tick.at for tick in ticks if not tick.fine] == ["0%", "50%", "100%"]
    assert len(ticks) == 11
    assert [percent(number) for number in (0, 12.5, 100, 33.3333)] == ["0%", "12.5%", "100%", "33.33%"]


def test_operations_of_others_are_drawn_as_they_are():
    """Nothing but a document and operations is asked for."""
    of = Foreign([add(0, 0, 10, 4), add(1, 5, 20, 4)])
    assert [bar.call.witness for bar in lanes(calls(of)).bars] == [True, True]
