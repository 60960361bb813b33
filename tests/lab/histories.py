"""Literal histories, legal and illegal, each with what it shows. Rules are lettered as in the checker's rooms.

Times are small whole numbers; an interval is written as its call and its return.
"""

from typing import NamedTuple

from quart_counter.lab.checker import ANOMALIES
from quart_counter.lab.history import Operation

CAP = 2**53 - 1


def add(call, ret, value, by=1, **more):
    """An answered add."""
    return op("add", call, ret, by=by, value=value, **more)


def take(call, ret, value, by=1, **more):
    """An answered take; give it a `limit`."""
    return op("take", call, ret, by=by, value=value, **more)


def put(call, ret, value, **more):
    """An answered set."""
    return op("set", call, ret, value=value, **more)


def read(call, ret, value, **more):
    """An answered read."""
    return op("read", call, ret, value=value, **more)


def lost(call, by=1, what="add", **more):
    """A mutation that nobody answered."""
    return op(what, call, None, by=by, outcome="info", **more)


def failed(call, ret, by=1, what="add", **more):
    """A mutation that was answered "not applied"."""
    return op(what, call, ret, by=by, outcome="fail", **more)


def refused(call, ret, by=1, what="take", **more):
    """A mutation that was refused by rule."""
    return op(what, call, ret, by=by, outcome="fail", refused=True, **more)


def op(what, call, ret, by=0, outcome="ok", name="tickets", key=None, limit=None, **more):
    return Operation(call, what, name, by, limit, key, call, ret, outcome, **more)


class Case(NamedTuple):
    """A history, the verdict it must get, the anomalies that are not 0, and the value it starts from."""

    shows: str
    verdict: str
    operations: list[Operation]
    anomalies: dict[str, int] = {}  # noqa: RUF012 - never changed
    start: int = 0

    def counts(self):
        return dict.fromkeys(ANOMALIES, 0) | self.anomalies


def valid(shows, *operations, start=0):
    return Case(shows, "valid", list(operations), {}, start)


def invalid(shows, *operations, start=0, **anomalies):
    return Case(shows, "invalid", list(operations), anomalies, start)


CASES = [
    # A: adds of positive sizes, all answered
    valid("nothing happened"),
    valid("A: one after the other", add(0, 1, 1), add(2, 3, 2)),
    valid("A: overlapping calls may be answered in any order", add(0, 10, 2), add(1, 9, 1)),
    valid("A: adds of any size tile from the start", add(0, 9, 12, by=5), add(0, 9, 15, by=3), start=7),
    valid("A: touching at one instant is overlap", add(0, 10, 2), add(10, 20, 1)),
    invalid("A: an instant apart is not", add(0, 9, 2), add(10, 20, 1), out_of_order=1),
    invalid("A: two out of order", add(0, 1, 2), add(0, 1, 3), add(5, 6, 1), out_of_order=2),
    invalid("A: the lost update: one number for two", add(0, 9, 1), add(0, 9, 1), duplicate=1, lost=1),
    invalid("A: someone else's answer: the total is right", add(0, 9, 2), add(0, 9, 2), duplicate=1, skipped=1),
    invalid("A: intervals that overlap in part", add(0, 9, 3, by=3), add(0, 9, 4, by=3), duplicate=1, lost=2),
    invalid("A: each counts alone", add(0, 9, 1), add(0, 9, 2), add(0, 9, 1), add(0, 9, 2), duplicate=2, lost=2),
    invalid("A: a number that nobody got", add(0, 9, 1), add(0, 9, 3), skipped=1, overcount=1),
    invalid("A: a number from before the start", add(0, 9, 1), start=5, duplicate=1, lost=5),
    invalid("A: the start was skipped", add(0, 9, 6), skipped=5, overcount=5),
    # B: reads
    valid(
        "B: a read of the start, of the middle, of the end", read(0, 1, 0), add(2, 5, 1), read(3, 4, 1), read(8, 9, 1)
    ),
    valid("B: a read that overlaps an add may see it or not", add(0, 9, 1), read(3, 4, 1), read(1, 2, 0)),
    valid("B: equal reads are free of each other", add(0, 1, 1), read(9, 10, 1), read(2, 3, 1), read(5, 6, 1)),
    invalid("B: a stale read", add(0, 1, 1), add(2, 3, 2), read(4, 5, 1), stale=1, lost=1),
    invalid("B: a stale read among others", add(0, 1, 1), add(2, 3, 2), read(4, 5, 1), read(6, 7, 2), stale=1),
    invalid("B: a read of what was not yet asked for", read(0, 1, 1), add(2, 3, 1), stale=1),
    invalid("B: reads that go back, under one long add", add(0, 9, 1), read(1, 2, 1), read(3, 4, 0), stale=1),
    invalid("B: a value inside an add was never held", add(0, 9, 4, by=4), read(1, 2, 2), stale=1),
    invalid("B: a value beyond all adds", add(0, 1, 1), read(2, 3, 2), stale=1, skipped=1, overcount=1),
    invalid("B: an acknowledged add that no read finds", add(0, 1, 1), read(2, 3, 0), stale=1, lost=1),
    # C: adds of unknown outcome
    valid("C: an unknown add fills the hole", lost(0), add(1, 2, 2)),
    valid("C: or was not applied", lost(0), add(1, 2, 1)),
    valid("C: a read shows that it was", lost(0), read(5, 6, 1)),
    valid("C: it may come long after its caller gave up", lost(0), add(8, 9, 1), read(10, 11, 2)),
    valid("C: several in one hole, in steps of their size", lost(0, 2), lost(0, 2), add(1, 2, 5)),
    invalid("C: two units, one unknown add", lost(0), add(1, 2, 3), skipped=1, overcount=1),
    invalid("C: called too late for the hole", add(0, 1, 2), lost(2), skipped=1),
    valid("C: called at the very instant", add(0, 2, 2), lost(2)),
    invalid("C: each in time for one hole, both for the same", lost(0), lost(9), add(1, 3, 2), add(2, 4, 4), skipped=1),
    valid("C: each in time for its own", lost(0), lost(4), add(1, 3, 2), add(4, 5, 4)),
    invalid("C: a hole that is no multiple of the size", lost(0, 2), lost(0, 2), add(1, 2, 4), skipped=1),
    invalid("C: a read in the middle of a step", lost(0, 2), read(1, 2, 1), stale=1, skipped=1),
    invalid("C: counted twice: an unknown add is worth one", lost(0), read(5, 6, 2), skipped=1, overcount=1),
    invalid("C: filled by the one, so the read before it was too early", read(0, 1, 1), lost(2), skipped=1),
    valid("C: different sizes, a choice that works", lost(0, 2), lost(0, 3), lost(0, 4), add(1, 2, 8)),
    invalid("C: different sizes, none works", lost(0, 2), lost(0, 4), add(1, 2, 4)),
    invalid("C: different sizes, too little of them", lost(0, 2), lost(0, 3), add(1, 2, 9), skipped=3, overcount=3),
    # D: versions
    valid(
        "D: down and up again",
        add(0, 1, -1, by=-1, version=1),
        add(2, 3, 0, version=2),
        add(4, 5, -1, by=-1, version=3),
    ),
    valid("D: set and reset", add(0, 9, 1, version=1), put(0, 9, 7, version=2), put(0, 9, 0, version=3)),
    valid("D: a counter that lived before", add(0, 1, 3, version=58), start=2),
    valid("D: and one that counts down", add(0, 1, 1, by=-1, version=58), start=2),
    invalid("D: no version is below 1", add(0, 1, 1, version=0)),
    invalid("D: versions go up by one", add(0, 1, 1, version=1), add(2, 3, 2, version=3)),
    invalid("D: one version for two adds", add(0, 9, 1, version=1), add(0, 9, 2, version=1)),
    invalid("D: one version for two sets", put(0, 9, 5, version=1), put(0, 9, 6, version=1), duplicate=1),
    invalid("D: a read with another's version", add(0, 1, 1, version=1), read(2, 3, 1, version=2)),
    invalid("D: a read whose value is not its version's", put(0, 1, 5, version=1), read(2, 3, 6, version=1), stale=1),
    invalid("D: an answer that does not follow", put(0, 9, 5, version=1), add(0, 9, 7, version=2)),
    invalid(
        "D: a decrement that vanished", add(0, 1, -1, by=-1, version=1), add(2, 3, -3, by=-1, version=3), skipped=1
    ),
    invalid("D: time against versions", put(0, 1, 5, version=2), put(2, 3, 6, version=1), out_of_order=1),
    invalid(
        "D: a stale read, by version",
        put(0, 1, 5, version=1),
        put(2, 3, 6, version=2),
        read(4, 5, 5, version=1),
        stale=1,
    ),
    invalid(
        "D: a stale read, by value alone", put(0, 1, 5, version=1), put(2, 3, 6, version=2), read(4, 5, 5), stale=1
    ),
    valid("D: a read by value alone", put(0, 1, 5, version=1), read(2, 9, 6), put(3, 4, 6, version=2)),
    invalid("D: reads that go back", put(0, 9, 5, version=1), read(1, 2, 5), read(3, 4, 0), stale=1),
    valid(
        "D: an unknown decrement fills the version",
        lost(0, -1),
        add(1, 2, 4, by=-1, version=2),
        put(0, 9, 6, version=3),
        start=6,
    ),
    invalid(
        "D: called too late for it", put(0, 1, 5, version=1), add(2, 3, 3, by=-1, version=3), lost(4, -1), skipped=1
    ),
    invalid("D: of the wrong size", put(0, 1, 5, version=1), add(2, 3, 2, by=-1, version=3), lost(0, -1)),
    valid(
        "D: an unknown set fills the version",
        put(0, 1, 5, version=1),
        lost(0, 0, "set", value=9),
        add(2, 3, 10, version=3),
    ),
    invalid(
        "D: more versions missing than unknown sets",
        put(0, 1, 5, version=1),
        lost(0, 0, "set", value=9),
        add(2, 3, 10, version=4),
        skipped=1,
    ),
    valid(
        "D: an unknown reset that a read saw",
        add(0, 1, -3, by=-3, version=1),
        lost(0, 0, "set", value=0),
        read(5, 6, 0),
    ),
    invalid("D: a reset that nobody asked for", add(0, 1, -3, by=-3, version=1), read(5, 6, 0), stale=1),
    valid(
        "D: of two kinds, the one that fits", put(0, 1, 5, version=1), lost(0, -1), lost(0, 4), add(2, 3, 10, version=3)
    ),
    invalid("D: of two kinds, none fits", put(0, 1, 5, version=1), lost(0, -1), lost(0, 4), add(2, 3, 11, version=3)),
    invalid(
        "D: an unknown take that would have passed its floor",
        put(0, 1, 5, version=1),
        lost(0, -1, "take", limit=5),
        add(2, 3, 3, by=-1, version=3),
    ),
    valid("D: no versions at all, but only one order in time", add(0, 1, 1), add(2, 3, 0, by=-1), add(4, 5, 1)),
    invalid("D: no versions at all, and no order", add(0, 1, 1), add(2, 3, 1, by=-1), add(4, 5, 1)),
    # E: retries under one key
    valid("E: a repeat gets the first answer", add(0, 1, 1, key="a"), add(5, 6, 1, key="a"), add(2, 3, 2)),
    invalid("E: a repeat counts again", add(0, 1, 1, key="a"), add(5, 6, 2, key="a")),
    invalid("E: a repeat with another version", add(0, 1, 1, key="a", version=1), add(5, 6, 1, key="a", version=2)),
    valid("E: no answer, then one", lost(0, key="a"), add(5, 6, 1, key="a"), add(2, 3, 2)),
    invalid(
        "E: applied before it was first sent", add(2, 3, 2), lost(4, key="a"), add(5, 6, 1, key="a"), out_of_order=1
    ),
    invalid(
        "E: what was not applied does not widen it",
        failed(0, 1, key="a"),
        add(5, 6, 1, key="a"),
        add(2, 3, 2),
        out_of_order=1,
    ),
    valid("E: never applied, and gone", failed(0, 1, key="a"), failed(2, 3, key="a"), add(4, 5, 1)),
    invalid("E: said to be not applied, and was", failed(0, 1, key="a"), add(4, 5, 2), skipped=1, overcount=1),
    valid("E: one attempt unknown, so all is", lost(0, key="a"), failed(2, 3, key="a"), add(4, 5, 2)),
    invalid(
        "E: two unknown attempts are worth one",
        lost(0, key="a"),
        lost(1, key="a"),
        add(4, 5, 3),
        skipped=1,
        overcount=1,
    ),
    valid("E: each key for itself", lost(0, key="a"), lost(1, key="b"), add(4, 5, 3)),
    invalid("E: refused, and applied after all", take(0, 1, 1, limit=1, key="a"), refused(2, 3, limit=1, key="a")),
    valid("E: refused for another request", add(0, 1, 1, key="a"), refused(2, 3, by=2, limit=1, key="a")),
    # F: bounded takes
    valid("F: full", take(0, 1, 1, limit=1), refused(2, 3, limit=1)),
    invalid("F: refused before it was full", refused(0, 1, limit=1), take(2, 3, 1, limit=1)),
    valid("F: refused while it filled", refused(0, 2, limit=1), take(2, 3, 1, limit=1)),
    invalid("F: refused without any reason", refused(0, 1, limit=1)),
    invalid("F: refused with one place left", take(0, 1, 1, limit=2), refused(2, 3, limit=2)),
    invalid("F: took beyond the limit", take(0, 1, 1, limit=1), take(0, 1, 2, limit=1)),
    invalid("F: took beyond the floor", take(0, 1, -1, by=-1, limit=0, version=1)),
    valid("F: an unknown take had filled it", lost(0, what="take", limit=1), refused(2, 3, limit=1)),
    invalid(
        "F: an unknown take cannot pass its limit",
        lost(0, what="take", limit=1),
        add(0, 5, 1),
        read(6, 7, 2),
        skipped=1,
    ),
    valid("F: nothing left to take", refused(0, 1, by=-1, limit=0), add(2, 3, 1)),
    invalid("F: refused with something left", add(0, 1, 1), refused(2, 3, by=-1, limit=0)),
    invalid("F: nothing was ever short", refused(0, 9, by=-1, limit=0), start=3),
    valid("F: empty, by version", take(0, 1, 0, by=-1, limit=0, version=1), refused(2, 3, by=-1, limit=0), start=1),
    invalid(
        "F: not empty, by version", take(0, 1, 1, by=-1, limit=0, version=1), refused(2, 3, by=-1, limit=0), start=2
    ),
    valid("F: the cap refuses, limit or not", refused(0, 1, what="add"), start=CAP),
    invalid("F: the cap is not reached", refused(0, 1, what="add"), start=CAP - 1),
    valid(
        "F: a refused set claims nothing that can be checked",
        op("set", 0, 1, outcome="fail", refused=True),
        add(2, 3, 1),
    ),
    valid(
        "F: different unknown sizes, full by one of them", lost(0, 2), lost(0, 3), refused(1, 2, limit=2), read(3, 4, 3)
    ),
    invalid("F: different unknown sizes, never full", lost(0, 2), lost(0, 3), refused(1, 2, limit=9)),
]
