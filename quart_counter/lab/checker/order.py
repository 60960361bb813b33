"""What the two forced orders share: the sweep over call and return times, and Hall's condition for what is missing."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, compress, count, islice
from operator import lt
from typing import NamedTuple

from quart_counter.lab.checker.parts import CALL, MAX_VALUE, RET, VALUE, Parts
from quart_counter.lab.checker.verdict import Violation, told
from quart_counter.lab.history import Operation

FOREVER = 1 << 200  # later than any clock
BEFORE_ALL = -FOREVER


def first_inversion(line: Sequence[Operation]) -> tuple[Operation, Operation] | None:
    """The first two operations of a forced order that time contradicts: the later one returned before the earlier
    one was called.

    Enough to compare each return with the largest call before it: O(n). Intervals are closed, so touching at one
    instant is overlap: with clocks of finite grain, equal stamps prove no order (strictly less does).
    """
    latest_calls = accumulate(map(CALL, line), max)
    inverted = map(lt, map(RET, islice(line, 1, None)), latest_calls)
    index = next(compress(count(1), inverted), None)
    if index is None:
        return None
    return max(line[:index], key=CALL), line[index]


def earliest_later_returns(line: Sequence[Operation]) -> list[int]:
    """For each place in a forced order, the earliest return from there to the end; one more at the end, for ever."""
    deadlines = list(accumulate(map(RET, reversed(line)), min, initial=FOREVER))
    deadlines.reverse()
    return deadlines


class Piece(NamedTuple):
    """A stretch (low, high] of the order that nobody answered for, so that unknown operations must have made it."""

    low: int
    high: int
    deadline: int  # the earliest return of an operation after it: what made it was called no later
    around: tuple[Operation, ...]  # the operations either side of it, as far as there are any

    @property
    def units(self) -> int:
        return self.high - self.low


class Supply(NamedTuple):
    """An unknown operation, worth so many units to any piece whose deadline it was called by."""

    call: int
    units: int


def first_unfilled(pieces: Iterable[Piece], supplies: Iterable[Supply]) -> Piece | None:
    """The first piece for which too little was called in time (Hall's condition), or None if all can be filled.

    Deadlines must not fall from piece to piece; then what serves one piece serves every later one, and comparing sums
    in order is exact for supplies of one size, and necessary for supplies of several. O(n log n).
    """
    needed = 0
    for piece, offered in _offers(pieces, supplies):
        needed += piece.units
        if needed > offered:
            return piece
    return None


def units_unfilled(pieces: Iterable[Piece], supplies: Iterable[Supply]) -> int:
    """How many units of the pieces stay empty when as many as possible are filled."""
    filled = total = 0
    for piece, offered in _offers(pieces, supplies):
        total += piece.units
        filled += min(piece.units, offered - filled)
    return total - filled


def _offers(pieces: Iterable[Piece], supplies: Iterable[Supply]) -> Iterable[tuple[Piece, int]]:
    """Each piece with the units called by its deadline."""
    waiting = sorted(supplies, reverse=True)
    offered = 0
    for piece in pieces:
        while waiting and waiting[-1].call <= piece.deadline:
            offered += waiting.pop().units
        yield piece, offered


def hole(piece: Piece) -> Violation:
    """A piece that nothing fills, shown by the operations either side of it."""
    numbers = f"number {piece.high}" if piece.units == 1 else f"numbers {piece.low + 1} to {piece.high}"
    return Violation(f"{numbers} went to nobody, and no unknown operation can have taken them", piece.around)


def beyond_limit(parts: Parts) -> Violation | None:
    """F: the first take that was answered with a value beyond its limit."""
    for take in parts.mutations:
        if take.limit is not None and passes_limit(take, VALUE(take)):
            return Violation(f"{told(take)} went beyond its limit", (take,))
    return None


def passes_limit(operation: Operation, value: int) -> bool:
    """Whether the operation, bringing its counter to `value`, would pass its own limit."""
    if operation.limit is None:
        return False
    return value > operation.limit if operation.by > 0 else value < operation.limit


def bound(refusal: Operation) -> int:
    """The last value that allows an add: an upward one is refused above it, a downward one below it.

    The limit of a take counts, and the cap of the contract, which refuses adds that have no limit.
    """
    if refusal.by > 0:
        return min(MAX_VALUE, MAX_VALUE if refusal.limit is None else refusal.limit) - refusal.by
    return max(-MAX_VALUE, -MAX_VALUE if refusal.limit is None else refusal.limit) - refusal.by


def refuses(value: int, refusal: Operation) -> bool:
    """Whether a counter at `value` has a reason to refuse the operation."""
    return value > bound(refusal) if refusal.by > 0 else value < bound(refusal)
