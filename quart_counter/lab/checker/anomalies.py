"""The six counts of a history that is known to be wrong: in which ways, and how often.

Where every mutation is a positive add they are counted along the values, in operations or in units. Else, if versions
order the history, along the versions: `skipped` counts versions then, and units lost or overcounted have no meaning.
Where neither orders it, nothing can be counted.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby, pairwise

from quart_counter.lab.checker.order import BEFORE_ALL, Piece, Supply, earliest_later_returns, units_unfilled
from quart_counter.lab.checker.parts import CALL, RET, VALUE, VERSION, Parts
from quart_counter.lab.checker.replay import Replay
from quart_counter.lab.checker.rising import Rising
from quart_counter.lab.checker.verdict import no_anomalies
from quart_counter.lab.history import Operation


def count(parts: Parts, start: int, start_version: int | None) -> dict[str, int]:
    """The six anomalies of one counter's history."""
    if parts.rising:
        return no_anomalies() | _along_values(Rising(parts, start, start_version))
    if parts.versioned:
        return no_anomalies() | _along_versions(Replay(parts, start, start_version))
    return no_anomalies()


def _along_values(rising: Rising) -> dict[str, int]:
    parts, start, last = rising.parts, rising.start, final_value(rising.parts, rising.start)
    added, maybe = sum(op.by for op in parts.mutations), sum(op.by for op in parts.unknowns)
    early_or_late = _Times(rising.adds, parts.reads, VALUE)
    return {
        "duplicate": _overlapping(rising),
        "skipped": _skipped(rising, last),
        "lost": max(0, start + added - last),
        "overcount": 0 if parts.gaps_allowed else max(0, last - start - added - maybe),
        "out_of_order": early_or_late.out_of_order(),
        "stale": sum(not rising.holds(VALUE(read)) or early_or_late.misplaced(read) for read in parts.reads),
    }


def _along_versions(replay: Replay) -> dict[str, int]:
    mutations = sorted(replay.parts.mutations, key=VERSION)
    reads = [read for read in replay.parts.reads if read.version is not None]
    early_or_late = _Times(mutations, reads, VERSION)
    return {
        "duplicate": len(mutations) - len(set(map(VERSION, mutations))),
        "skipped": _missing_versions(replay, mutations, early_or_late),
        "out_of_order": early_or_late.out_of_order(),
        "stale": _misread(replay, mutations) + sum(early_or_late.misplaced(read) for read in reads),
    }


def final_value(parts: Parts, start: int) -> int:
    """F: the last read called after every other return, else the largest value answered."""
    answered = [*parts.mutations, *parts.reads]
    last = max(parts.reads, key=CALL, default=None)
    if last is not None and all(op is last or RET(op) < last.call for op in (*answered, *parts.refusals)):
        return int(VALUE(last))
    return max(map(VALUE, answered), default=start)


def _overlapping(rising: Rising) -> int:
    overlapping, top = 0, rising.start
    for _, begin, add in rising.steps():
        overlapping += begin < top
        top = max(top, VALUE(add))
    return overlapping


def _skipped(rising: Rising, last: int) -> int:
    """Units up to `last` that no answer covers and no unknown add fits; with several sizes, at least so many."""
    size, pieces, left_over = rising.step or 1, [], 0
    for piece in rising.pieces:
        low, high = max(piece.low, rising.start), min(piece.high, last)
        units, room = max(0, high - low), max(0, min(high, rising.reach) - low)
        left_over += units - room // size * size
        pieces.append(piece._replace(low=0, high=room // size * size))
    return left_over + units_unfilled(pieces, rising.supplies)


def _missing_versions(replay: Replay, mutations: Sequence[Operation], times: "_Times") -> int:
    """Versions that no answer tells and no unknown mutation can have made."""
    made = set(map(VERSION, mutations))
    known = made | {read.version for read in replay.parts.reads if read.version is not None}
    first = min(known, default=0)
    front = first - (first in made) if replay.start_version is None else replay.start_version
    pieces = []
    for low, high in pairwise(sorted(known | {front})):
        pieces.append(Piece(low, high - (high in made), times.earliest_return_above(low), ()))
    return units_unfilled(pieces, (Supply(unknown.call, 1) for unknown in replay.parts.unknowns))


def _misread(replay: Replay, mutations: Sequence[Operation]) -> int:
    """Reads whose value is not that of their version, or (without one) certainly of no moment in their interval."""
    made = {mutation.version: mutation.value for mutation in mutations}
    wrong = sum(made.get(read.version, read.value) != read.value for read in replay.parts.reads)
    if replay.dead is not None or replay.parts.unknowns:
        return wrong
    return wrong + sum(operation.op == "read" for operation in replay.homeless)


class _Times:
    """Which operations time contradicts, once a key (value or version) puts mutations and reads in order."""

    def __init__(self, mutations: Sequence[Operation], reads: Sequence[Operation], key: Callable[[Operation], int]):
        """`mutations` come sorted by the key."""
        self._mutations = mutations
        self._key = key
        self._keys = list(map(key, mutations))
        self._latest_calls = list(accumulate(map(CALL, mutations), max, initial=BEFORE_ALL))
        line = sorted([*mutations, *reads], key=key)
        self._line_keys = list(map(key, line))
        self._deadlines = earliest_later_returns(line)

    def out_of_order(self) -> int:
        """Mutations that returned before one with a smaller key was called."""
        late = before = 0
        for _, group in groupby(self._mutations, self._key):
            equals = list(group)
            late += sum(RET(mutation) < self._latest_calls[before] for mutation in equals)
            before += len(equals)
        return late

    def misplaced(self, read: Operation) -> bool:
        """Whether the read returned before what it saw was called, or was called after something newer returned."""
        key = self._key(read)
        seen = bisect_right(self._keys, key)
        return RET(read) < self._latest_calls[seen] or read.call > self.earliest_return_above(key)

    def earliest_return_above(self, key: int) -> int:
        """The earliest return of an operation with a larger key."""
        return self._deadlines[bisect_right(self._line_keys, key)]
