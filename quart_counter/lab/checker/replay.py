"""A history laid out along its versions: the states its counter went through, and where everything stands among them."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from heapq import heappop, heappush
from itertools import accumulate
from typing import NamedTuple

from quart_counter.lab.checker.order import CALL, FOREVER, RET, VALUE, VERSION, Piece, passes_limit, refuses
from quart_counter.lab.checker.parts import Parts
from quart_counter.lab.checker.verdict import Violation, told
from quart_counter.lab.history import Operation


class Step(NamedTuple):
    """An operation of the line, the index of the state it made or saw, and how many unanswered ones came before it."""

    operation: Operation
    index: int
    missing: int


class Dead(NamedTuple):
    """Where a replay ended early. It is `certain` if no choice of unknown operations could have gone on."""

    violation: Violation
    certain: bool


class Replay:
    """One line of versions, walked from the start: `states[0]` is the start, then one state a mutation."""

    def __init__(self, parts: Parts, start: int, start_version: int | None) -> None:
        self.parts = parts
        self.start_version = start_version
        self.states = [start]
        self.steps: list[Step] = []

    @cached_property
    def line(self) -> list[Operation]:
        """Mutations and the reads that tell a version, a read behind the mutation that made its version."""
        reads = sorted((read for read in self.parts.reads if read.version is not None), key=CALL)
        return sorted([*self.parts.mutations, *reads], key=VERSION)

    @cached_property
    def floating(self) -> list[Operation]:
        """What tells no version: reads of a value only, and refusals. They stand wherever time and value allow."""
        reads = (read for read in self.parts.reads if read.version is None)
        return sorted([*reads, *self.parts.refusals], key=CALL)

    @cached_property
    def dead(self) -> Dead | None:
        """Walk the line once; None if it can be walked to its end."""
        version = self.start_version
        for operation in self.line:
            mutates = operation.op != "read"
            before = VERSION(operation) - mutates
            missing = self._missing_in_front(operation) if version is None else before - version
            dead = self._step_over(operation, missing) or self._reach(operation)
            if dead is not None or before - missing < 0:
                return dead or self._contradiction(operation)
            if mutates:
                self.states.append(VALUE(operation))
            self.steps.append(Step(operation, len(self.states) - 1, missing))
            version = operation.version
        return None

    def _missing_in_front(self, operation: Operation) -> int:
        """How many unanswered mutations led from the start to the first operation, whose version tells nothing yet."""
        gap = 0 if operation.op == "set" else _needed(operation) - self.states[0]
        if gap == 0 or self.filler is None:
            return 0 if gap == 0 else 1
        return 1 if self.filler.op == "set" else max(1, gap // self.filler.by)

    @property
    def front_is_open(self) -> bool:
        """Whether something may have floated among unknown mutations before a set that hides how many they were."""
        return bool(self.floating) and self.start_version is None and bool(self.line) and self.line[0].op == "set"

    @cached_property
    def filler(self) -> Operation | None:
        """An unknown mutation that stands for all, if they are all alike: then what filled a gap is no question."""
        kinds = {(op.op == "set", op.by, op.limit, op.value if op.op == "set" else None) for op in self.parts.unknowns}
        return self.parts.unknowns[0] if len(kinds) == 1 else None

    def _step_over(self, operation: Operation, missing: int) -> Dead | None:
        """Append the states that `missing` unknown mutations made."""
        if missing < 0:
            return self._contradiction(operation)
        if missing == 0:
            return None
        if self.filler is None or missing > len(self.parts.unknowns):
            return self._hole(operation, certain=missing > len(self.parts.unknowns))
        for _ in range(missing):
            self.states.append(_filled(self.filler, self.states[-1]))
        return self._hole(operation, certain=True) if passes_limit(self.filler, self.states[-1]) else None

    def _reach(self, operation: Operation) -> Dead | None:
        if operation.op == "set" or _needed(operation) == self.states[-1]:
            return None
        return self._contradiction(operation)

    def _contradiction(self, operation: Operation) -> Dead:
        since = f"from {told(self.steps[-1].operation)}" if self.steps else f"from the start at {self.states[0]}"
        reason = f"{told(operation)} does not follow {since}"
        return Dead(Violation(reason, self._around(operation)), certain=True)

    def _hole(self, operation: Operation, certain: bool) -> Dead:
        since = f"after {told(self.steps[-1].operation)}" if self.steps else f"after the start at {self.states[0]}"
        reason = f"mutations are missing {since} and before {told(operation)}, and no unknown operations can be them"
        return Dead(Violation(reason, self._around(operation)), certain)

    def _around(self, operation: Operation) -> tuple[Operation, ...]:
        return (*(step.operation for step in self.steps[-1:]), operation)

    @cached_property
    def placement(self) -> tuple[list[Step], Operation | None]:
        """Give each floating operation the earliest state that its time and value allow; the first that has none.

        The earliest is the best: it holds back neither those that follow it nor an unknown mutation that must have
        been called before it. A walk over the states in its interval: O(n log n) plus the overlap of each.
        """
        returned = sorted((step.operation.ret or 0, step.index) for step in self.steps)
        calls, last_states = self._ceilings()
        floor, placed = 0, list[Step]()
        for operation in self.floating:
            while returned and returned[0][0] < operation.call:
                floor = max(floor, heappop(returned)[1])
            ceiling = last_states[bisect_right(calls, RET(operation))]
            index = next((i for i in range(floor, ceiling + 1) if _stands(operation, self.states[i])), None)
            if index is None:
                return placed, operation
            placed.append(Step(operation, index, 0))
            heappush(returned, (RET(operation), index))
        return placed, None

    def _ceilings(self) -> tuple[list[int], list[int]]:
        """For each call time in the line, the last state before anything called then or later; at the end, the last."""
        steps = sorted(self.steps, key=lambda step: step.operation.call)
        below = (step.index - (step.operation.op != "read") for step in reversed(steps))
        last_states = list(accumulate(below, min, initial=len(self.states) - 1))
        return [step.operation.call for step in steps], last_states[::-1]

    def pieces(self, placed: Sequence[Step]) -> list[Piece]:
        """Each state that an unknown mutation made, with the earliest return of what stands on it or behind it."""
        returns = [FOREVER] * len(self.states)
        for operation, index, _ in (*self.steps, *placed):
            returns[index] = min(returns[index], RET(operation))
        deadlines = list(accumulate(reversed(returns), min))[::-1]
        pieces = []
        for place, step in enumerate(self.steps):
            around = tuple(step.operation for step in self.steps[max(0, place - 1) : place + 1])
            last = step.index - (step.operation.op != "read")
            pieces += [Piece(i - 1, i, deadlines[i], around) for i in range(last - step.missing + 1, last + 1)]
        return pieces


def _needed(operation: Operation) -> int:
    """The value that must stand before an add, a take or a read."""
    return int(VALUE(operation) - operation.by)


def _filled(filler: Operation, value: int) -> int:
    return int(VALUE(filler)) if filler.op == "set" else value + filler.by


def _stands(operation: Operation, value: int) -> bool:
    """Whether a read or a refusal can have seen the value."""
    return refuses(operation, value) if operation.refused else operation.value == value
