"""A history laid out along its versions: the states its counter went through, and where each operation stands."""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property
from heapq import heappop, heappush
from itertools import accumulate, chain
from typing import NamedTuple

from quart_counter.lab.checker.order import FOREVER, Piece, passes_limit, refuses
from quart_counter.lab.checker.parts import CALL, RET, VALUE, VERSION, Parts
from quart_counter.lab.checker.verdict import Violation, told
from quart_counter.lab.history import Operation


class Step(NamedTuple):
    """An operation of the line, which state it made or saw, and how many unanswered mutations came just before it."""

    operation: Operation
    state: int
    missing: int


class Home(NamedTuple):
    """An operation that tells no version, and the state that it stands on, if there is one."""

    operation: Operation
    state: int | None


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
        self.dead = self._walk()

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

    def _walk(self) -> Dead | None:
        """Go through the line once; None if it can be walked to its end."""
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
            return Dead(self.missing_before(operation), certain=missing > len(self.parts.unknowns))
        for _ in range(missing):
            self.states.append(_filled(self.filler, self.states[-1]))
        if passes_limit(self.filler, self.states[-1]):
            return Dead(self.missing_before(operation), certain=True)
        return None

    def _reach(self, operation: Operation) -> Dead | None:
        if operation.op == "set" or _needed(operation) == self.states[-1]:
            return None
        return self._contradiction(operation)

    def _contradiction(self, operation: Operation) -> Dead:
        before = self._before(operation)
        since = told(before[0]) if before else f"the start at {self.states[0]}"
        reason = f"{told(operation)} does not follow from {since}"
        if before and operation.op != "read" and operation.version == before[0].version:
            reason = f"{since} and {told(operation)} made the same version"
        return Dead(Violation(reason, (*before, operation)), certain=True)

    def missing_before(self, operation: Operation) -> Violation:
        """A hole in the versions, shown by the operations either side of it."""
        before = self._before(operation)
        since = told(before[0]) if before else f"the start at {self.states[0]}"
        reason = f"between {since} and {told(operation)} mutations are missing, and no unknown operations can be them"
        return Violation(reason, (*before, operation))

    def _before(self, operation: Operation) -> Sequence[Operation]:
        place = self.line.index(operation)
        return self.line[max(0, place - 1) : place]

    @cached_property
    def homes(self) -> list[Home]:
        """The state that each floating operation stands on: the earliest that its time and value allow, if any does.

        The earliest is the best: it holds back neither those that follow it nor an unknown mutation that must have
        been called before it. A walk over the states in its interval: O(n log n) plus the overlap of each.
        """
        if not self.floating:
            return []
        returned = sorted((RET(step.operation), step.state) for step in self.steps)
        calls, last_states = self._ceilings()
        floor, homes = 0, list[Home]()
        for operation in self.floating:
            while returned and returned[0][0] < operation.call:
                floor = max(floor, heappop(returned)[1])
            ceiling = last_states[bisect_right(calls, RET(operation))]
            state = next((i for i in range(floor, ceiling + 1) if _explains(self.states[i], operation)), None)
            homes.append(Home(operation, state))
            if state is not None:
                heappush(returned, (RET(operation), state))
        return homes

    @cached_property
    def homeless(self) -> list[Operation]:
        """The floating operations for which there is no such state."""
        return [operation for operation, state in self.homes if state is None]

    def _ceilings(self) -> tuple[list[int], list[int]]:
        """For each call time in the line, the last state before anything called then or later; at the end, the last."""
        steps = sorted(self.steps, key=lambda step: step.operation.call)
        below = (step.state - (step.operation.op != "read") for step in reversed(steps))
        last_states = list(accumulate(below, min, initial=len(self.states) - 1))
        return [step.operation.call for step in steps], last_states[::-1]

    @cached_property
    def pieces(self) -> list[Piece]:
        """Each state that an unknown mutation made, with the earliest return of what stands on it or behind it."""
        filled = [place for place, step in enumerate(self.steps) if step.missing]
        if not filled:
            return []
        returns = [FOREVER] * len(self.states)
        for operation, state in chain((step[:2] for step in self.steps), self.homes):
            if state is not None:
                returns[state] = min(returns[state], RET(operation))
        deadlines = list(accumulate(reversed(returns), min))[::-1]
        pieces = []
        for place in filled:
            operation, state, missing = self.steps[place]
            around = tuple(step.operation for step in self.steps[max(0, place - 1) : place + 1])
            end = state + (operation.op == "read")
            pieces += [Piece(made - 1, made, deadlines[made], around) for made in range(end - missing, end)]
        return pieces


def _needed(operation: Operation) -> int:
    """The value that must stand before an add, a take or a read."""
    return int(VALUE(operation) - operation.by)


def _filled(filler: Operation, value: int) -> int:
    return int(VALUE(filler)) if filler.op == "set" else value + filler.by


def _explains(value: int, operation: Operation) -> bool:
    """Whether a counter at `value` answers a read or a refusal as it was answered."""
    return refuses(value, operation) if operation.refused else operation.value == value
