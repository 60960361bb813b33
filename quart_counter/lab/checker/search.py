"""The last resort: look at orders one after the other (Wing and Gong, 1993; with Lowe's memory of states seen, 2017).

Only histories come here that no sort decides: unknown operations of different sizes, or values that repeat without
versions. An operation may come next if nothing that is left returned before it was called; unknown ones may come or
not. Most are no choice at all, so the common case is one walk; the worst is exponential, so there is a budget.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from quart_counter.lab.checker.order import CALL, FOREVER, RET, VALUE, passes_limit, refuses
from quart_counter.lab.checker.parts import Parts
from quart_counter.lab.checker.verdict import Undecided, Violation, told
from quart_counter.lab.history import Operation

STATES_PER_OPERATION = 20
STATES_AT_LEAST = 100_000


class State(NamedTuple):
    """Where an order has come to; two orders that came to the same state have the same future.

    `done` holds the places at or behind `front` whose operations are taken already; all before `front` are.
    `used` counts the unknown operations taken, kind by kind. `base` is the version at the start, once it is known.
    """

    front: int
    done: frozenset[int]
    used: tuple[int, ...]
    value: int
    base: int | None


def search(parts: Parts, start: int, start_version: int | None, undecided: Undecided) -> Violation | Undecided | None:
    """None if some order explains every answer, a violation if none does, `undecided` if the budget ran out first."""
    orders = _Orders(parts)
    first = State(0, frozenset(), (0,) * len(orders.kinds), start, start_version)
    budget = STATES_AT_LEAST + STATES_PER_OPERATION * len(orders.answered)
    waiting, seen, furthest = [first], {first}, first
    while waiting:
        state = waiting.pop()
        if state.front == len(orders.answered):
            return None
        furthest = max(furthest, state, key=_progress)
        for following in orders.after(state):
            if following not in seen:
                seen.add(following)
                waiting.append(following)
        if len(seen) > budget:
            return undecided
    return undecided.otherwise or orders.stuck(furthest)


def _progress(state: State) -> int:
    return state.front + len(state.done)


class _Orders:
    """The operations to be put in order: those answered, by call; the unknown ones, kind by kind."""

    def __init__(self, parts: Parts) -> None:
        self.answered = sorted([*parts.mutations, *parts.reads, *parts.refusals], key=CALL)
        kinds = defaultdict[tuple[object, ...], list[Operation]](list)
        for unknown in sorted(parts.unknowns, key=CALL):
            kinds[unknown.op == "set", unknown.by, unknown.limit, unknown.op == "set" and unknown.value].append(unknown)
        self.kinds = list(kinds.values())
        self.versions = {operation.version for operation in parts.mutations}

    def after(self, state: State) -> list[State]:
        """The states that one more operation leads to; the likeliest last, where a stack looks first."""
        places = list(self._next_places(state))
        deadline = ...
