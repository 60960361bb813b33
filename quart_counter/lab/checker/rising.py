"""A history of positive adds laid out along its values: what stands where, which gaps are left, what fills them."""

from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from itertools import chain, pairwise
from operator import attrgetter, eq, sub
from typing import NamedTuple

from quart_counter.lab.checker.order import BEFORE_ALL, FOREVER, Piece, Supply, bound, earliest_later_returns
from quart_counter.lab.checker.parts import BY, CALL, VALUE, Parts
from quart_counter.lab.history import Operation

_LOW = attrgetter("low")


class Gap(NamedTuple):
    """Units (low, high] that no answer covers. The last gap of a line is open: its `high` is FOREVER."""

    low: int
    high: int


class Rising:
    """One line of values from the start upwards. Each fact is worked out once, and only if a rule asks for it."""

    def __init__(self, parts: Parts, start: int, start_version: int | None) -> None:
        self.parts = parts
        self.start = start
        self.start_version = start_version
        self._whole: dict[Operation, Operation] = {}

    @cached_property
    def adds(self) -> list[Operation]:
        return sorted(self.parts.mutations, key=VALUE)

    @cached_property
    def values(self) -> list[int]:
        return list(map(VALUE, self.adds))

    @cached_property
    def contiguous(self) -> bool:
        """Whether each add begins where the one before ended: the common case, seen without a Python loop."""
        return all(map(eq, self._begins(), chain((self.start,), self.values)))

    def steps(self) -> Iterator[tuple[int, int, Operation]]:
        """Where the answers so far end, where the next add begins, and that add."""
        return zip(chain((self.start,), self.values), self._begins(), self.adds, strict=False)

    def _begins(self) -> Iterator[int]:
        return map(sub, self.values, map(BY, self.adds))

    @cached_property
    def gaps(self) -> list[Gap]:
        """The gaps from the start upwards; the open one above the last value is always there."""
        inner = [] if self.contiguous else [Gap(top, begin) for top, begin, _ in self.steps() if top < begin]
        return [*inner, Gap(self.values[-1] if self.values else self.start, FOREVER)]

    @cached_property
    def step(self) -> int | None:
        """The size of the unknown adds: 0 if there are none, None if they are not all alike.

        What others may have taken is of size 1 and without end, so that the unknown adds themselves are not needed.
        """
        if self.parts.gaps_allowed:
            return 1
        sizes = {(op.by, op.limit) for op in self.parts.unknowns}
        if len(sizes) > 1:
            return None
        return next(iter(sizes))[0] if sizes else 0

    def holds(self, value: int) -> bool:
        """Whether the counter may have held `value`: at the start, after an add, or after unknown adds in a gap."""
        if value == self.start or value in self._answered:
            return True
        gap = self._gap_after(value - 1)
        if gap is None or self.step == 0:
            return False
        return self.step is None or (value - gap.low) % self.step == 0

    def first_above(self, limit: int) -> int | None:
        """The first value above `limit` that the counter came to; None if it never did, or nobody can say which."""
        if self.start > limit:
            return self.start
        gap = self._gap_after(limit)
        if gap is not None and self.step != 0:
            return self.step and gap.low + ((limit - gap.low) // self.step + 1) * self.step
        place = bisect_right(self.values, limit)
        return self.values[place] if place < len(self.values) else None

    def _gap_after(self, value: int) -> Gap | None:
        """The gap with low <= value < high, if there is one."""
        place = bisect_right(self.gaps, value, key=_LOW) - 1
        return self.gaps[place] if place >= 0 and value < self.gaps[place].high else None

    @cached_property
    def _answered(self) -> set[int]:
        return set(self.values)

    @cached_property
    def line(self) -> list[Operation]:
        """All that stands in the forced order.

        Sorting is stable: at one value the add comes first, and equal reads stand in the order of their calls: they
        are free of each other, and in that order their times never contradict.
        """
        if not self.parts.reads and not self.parts.refusals:
            return self.adds
        reads = sorted(self.parts.reads, key=CALL)
        return sorted(chain(self.adds, self._risen, reads, self._not_yet_risen), key=VALUE)

    @cached_property
    def _risen(self) -> list[Operation]:
        """Refused upward takes, as reads of the first value that refuses them: no earlier than that, maybe later."""
        halves = []
        for refusal in self.parts.refusals:
            value = self.first_above(bound(refusal)) if refusal.by > 0 else None
            if value is not None:
                halves.append(self._half(refusal, refusal._replace(call=BEFORE_ALL, value=value, version=None)))
        return halves

    @cached_property
    def _not_yet_risen(self) -> list[Operation]:
        """Refused downward takes, as reads just below the values that allow them: no later than that, maybe earlier."""
        return [
            self._half(refusal, refusal._replace(ret=FOREVER, value=bound(refusal) - 1, version=None))
            for refusal in self.parts.refusals
            if refusal.by < 0
        ]

    def unplaced_refusals(self) -> list[Operation]:
        """Refused upward takes that found no value to stand at."""
        upward = (refusal for refusal in self.parts.refusals if refusal.by > 0)
        return [refusal for refusal in upward if self.first_above(bound(refusal)) is None]

    def ranks(self) -> Iterator[tuple[int, Operation]]:
        """Each answered operation of the line with the number of mutations up to it, those of the gaps included."""
        rank, top, step = 0, self.start, self.step or 1
        for operation, value in zip(self.line, map(VALUE, self.line), strict=True):
            if operation.refused:
                continue
            added = operation.op != "read"
            rank += max(0, value - operation.by - top) // step + added
            top = max(top, value)
            yield rank, operation

    def misfits(self, piece: Piece) -> bool:
        """Whether no number of unknown adds, all of one size, makes exactly this piece and keeps their limit."""
        if not self.step:
            return self.step == 0
        return piece.units % self.step != 0 or piece.high > self.reach

    @property
    def supplies(self) -> list[Supply]:
        """What may have made the gaps."""
        if self.parts.gaps_allowed:
            return [Supply(BEFORE_ALL, FOREVER)]
        return [Supply(unknown.call, unknown.by) for unknown in self.parts.unknowns]

    @cached_property
    def reach(self) -> int:
        """The highest value that an unknown add can have made: the largest limit, if all have one."""
        if self.parts.gaps_allowed:
            return FOREVER
        limits = [FOREVER if unknown.limit is None else unknown.limit for unknown in self.parts.unknowns]
        return max(limits, default=FOREVER)

    def _half(self, refusal: Operation, half: Operation) -> Operation:
        self._whole[half] = refusal
        return half

    def whole(self, operation: Operation) -> Operation:
        """The recorded operation behind a place in the line."""
        return self._whole.get(operation, operation)

    @cached_property
    def pieces(self) -> list[Piece]:
        """The gaps, cut at every value that a read or a refusal says was held."""
        spans = [span for gap in self.gaps for span in pairwise(self._cuts(gap))]
        if not spans:
            return []
        line_values = list(map(VALUE, self.line))
        deadlines = earliest_later_returns(self.line)
        pieces = []
        for low, high in spans:
            place = bisect_right(line_values, low)
            around = map(self.whole, self.line[max(0, place - 1) : place + 1])
            pieces.append(Piece(low, high, deadlines[place], tuple(around)))
        return pieces

    def _cuts(self, gap: Gap) -> list[int]:
        inside = self._seen[bisect_right(self._seen, gap.low) : bisect_right(self._seen, gap.high)]
        return sorted({gap.low, gap.high, *inside} - {FOREVER})

    @cached_property
    def _seen(self) -> list[int]:
        """The values that a read or an upward refusal says were held, in order."""
        return sorted(set(map(VALUE, chain(self.parts.reads, self._risen))))
