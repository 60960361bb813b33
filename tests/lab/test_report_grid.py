"""The grid of a page: each number once, more than once or never, and never more cells than can be looked at."""

import pytest
from reported import Foreign, add, apart, calls, read, right, row

from quart_counter.lab.html.calls import owners
from quart_counter.lab.html.grid import BLOCKS, LARGE, SMALL, grid


def drawn(of, **how):
    return grid(calls(of), of.document(), **how)


def cells(shown):
    return [cell for group in shown.groups for cell in group.cells]


def test_once_twice_and_never():
    """Two got 1, one got 3, nobody got 2."""
    shown = drawn(row([add(0, 0, 10, 1), add(1, 1, 11, 1), add(2, 2, 12, 3), read(3, 20, 21, 3)]))
    assert [(cell.name, cell.kind, cell.mark) for cell in cells(shown)] == [
        ("1", "more", "\u00d72"),
        ("2", "never", ""),
        ("3", "once", ""),
    ]
    assert cells(shown)[0].told == "1: 2 times, to client 0; client 1"
    assert (shown.once, shown.more, shown.never, shown.most) == (1, 1, 1, 2)
    assert shown.spans == {"more": "1", "never": "2"}


def test_there_is_room_for_every_request():
    """What was lost at the end is seen: two requests were answered 1, so 2 was never handed out."""
    shown = drawn(row([add(0, 0, 10, 1), add(1, 1, 11, 1), read(2, 20, 21, 1)]))
    assert (shown.first, shown.last, shown.never) == (1, 2, 1)


def test_a_cell_says_which_process_handed_it_out():
    shown = drawn(apart(each=2, more=1))
    assert [[chip.owner.letter for chip in cell.chips] for cell in cells(shown)] == [
        ["A", "B"],
        ["A", "B"],
        ["A"],
        [],
        [],
    ]
    assert "client 0, process A; client 100, process B" in cells(shown)[0].told


def test_processes_get_letters_in_the_order_of_their_answers_and_one_alone_none():
    assert owners([7, 7]) == {}
    assert [(owner.letter, owner.pid, owner.hue) for owner in owners([9, 0, 7, 9]).values()] == [
        ("A", 9, 0),
        ("B", 7, 1),
    ]
    many = list(owners(range(1, 60)).values())
    assert [many[i].letter for i in (25, 26, 52)] == ["Z", "A2", "A3"]
    assert len({owner.letter for owner in many}) == 59


@pytest.mark.parametrize(
    ("operations", "first"),
    [
        ([add(0, 0, 10, 4), add(1, 1, 11, 5)], 4),
        ([read(2, -5, -4, 2), add(0, 0, 10, 4), add(1, 1, 11, 5)], 3),
        ([read(2, -5, -4, 9), add(0, 0, 10, -4), add(1, 1, 11, -5)], -5),
    ],
    ids=["nothing was read", "read before", "it counts down"],
)
def test_where_a_counter_of_others_began(operations, first):
    """A counter that stood at 3 before the race did not skip 1, 2 and 3."""
    assert drawn(Foreign(operations)).first == first


def test_each_client_with_a_number_of_its_own():
    """Number 1 for everybody is no fault then; 1 twice for one client is."""
    theirs = [add(0, 0, 10, 1), add(1, 1, 11, 1), add(1, 20, 30, 2)]
    assert drawn(Foreign(theirs)).more == 1
    shown = drawn(Foreign(theirs), apart=True)
    assert [cell.kind for cell in cells(shown)] == ["once", "once"]
    twice = drawn(Foreign([*theirs, add(1, 40, 50, 2)]), apart=True)
    assert [(cell.kind, cell.mark) for cell in cells(twice)] == [("once", ""), ("more", "\u00d72")]


def test_many_numbers_get_small_cells_in_hundreds():
    shown = drawn(right(clients=LARGE + 30))
    assert shown.size == "small"
    assert [group.name for group in shown.groups] == ["1 to 100", "101 to 200", "201 to 230"]
    assert len(cells(shown)) == LARGE + 30


def test_hundreds_that_nobody_got_are_a_line():
    """1,000 clients who were all told 1."""
    shown = drawn(row([add(n, n / 1000, 10 + n, 1) for n in range(1000)]))
    assert [(group.name, len(group.cells)) for group in shown.groups] == [
        ("1 to 100", 100),
        ("101 to 1000: never handed out", 0),
    ]


def test_of_too_many_numbers_a_cell_is_a_block():
    """100,000 requests: cells of 1,000, each as bad as its worst number."""
    operations = [add(n % 100, n, n + 50, n + 1) for n in range(100_000)]
    operations[70_000] = operations[70_000]._replace(value=1)
    shown = grid(calls(Foreign(operations, {"witness": []})), {"mode": "lock"})
    assert shown.size == "blocks"
    assert shown.block == 1000
    assert len(cells(shown)) == 100 <= BLOCKS
    assert (cells(shown)[0].name, cells(shown)[0].kind, cells(shown)[0].mark) == ("1\u20131000", "more", "\u00d7 1")
    assert (cells(shown)[70].kind, cells(shown)[70].mark) == ("never", "○ 1")
    assert cells(shown)[1].told == "1001 to 2000: 1000 once, 0 more than once, 0 never"


def test_numbers_far_apart_stay_a_page():
    """Identifiers of 60 bits are no counter, but somebody will race them."""
    shown = drawn(Foreign([add(n, n, n + 50, 2**60 + n * 2**50) for n in range(20)]))
    assert len(cells(shown)) <= BLOCKS
    assert (shown.once, shown.more) == (20, 0)
    assert shown.numbers > SMALL


def test_nothing_handed_out_is_no_grid():
    assert drawn(row([add(0, 0, None, None, "info"), add(1, 0, 5, None, "fail")])) is None
