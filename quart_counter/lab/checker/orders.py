"""The last resort: look at orders one after the other (Wing and Gong, 1993; with Lowe's memory of states seen, 2017).

Only histories come here that no sort decides: unknown operations of different sizes, or values that repeat without
versions. An operation may come next if nothing that is left returned before it was called; unknown ones may come or
not. Most are no choice at all, so the common case is one walk; the worst is exponential, so there is a budget.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from quart_counter.lab.checker.order import FOREVER, passes_limit, refuses
from quart_counter.lab.checker.parts import CALL, RET, VALUE, Parts
from quart_counter.lab.checker.verdict import Undecided, Violation, told
from quart_counter.lab.history import Operation

STATES_PER_OPERATION = 2
STATES_AT_LEAST = 50_000


class State(NamedTuple):
    """Where an order has come to; two orders that came to the same state have the same future.

    `done` holds the places at or behind `front` whose operations are taken already; all before `front` are.
    `used` counts the unknown operations taken, kind by kind. `made` counts all mutations taken, and `base` is the
    version at the start, once an answer told it.
    """

    front: int
    done: frozenset[int]
    used: tuple[int, ...]
    value: int
    made: int
    base: int | None


def search(parts: Parts, start: int, start_version: int | None, undecided: Undecided) -> Violation | Undecided | None:
    """None if some order explains every answer, a violation if none does, `undecided` if the budget ran out first."""
    orders = _Orders(parts)
    first = State(0, frozenset(), (0,) * len(orders.kinds), start, 0, start_version)
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
        """The states that one more operation leads to; the likeliest last, where a stack looks first.

        What changes nothing is no choice: it is best taken at once. Nor is a mutation whose turn its version tells.
        """
        places, deadline = self._next(state)
        moves = [(self.answered[place], then) for place in places if (then := self._take(state, place)) is not None]
        for _, then in moves:
            if (then.made, then.base) == (state.made, state.base):
                return [then]
        if state.base is not None and state.base + state.made + 1 in self.versions:
            return [then for operation, then in moves if operation.version is not None]
        return [*self._guess(state, deadline), *(then for _, then in moves)]

    def _next(self, state: State) -> tuple[list[int], int]:
        """The answered operations that may come next, and the time by which whatever comes next was called."""
        places, deadline = [], FOREVER
        for place in range(state.front, len(self.answered)):
            if self.answered[place].call > deadline:
                break
            if place not in state.done:
                places.append(place)
                deadline = min(deadline, RET(self.answered[place]))
        return places, deadline

    def _take(self, state: State, place: int) -> State | None:
        """The state after an answered operation, unless its answer contradicts the state before."""
        operation = self.answered[place]
        if operation.refused:
            return self._pass(state, place) if refuses(state.value, operation) else None
        if operation.op != "set" and VALUE(operation) - operation.by != state.value:
            return None
        made = state.made + (operation.op != "read")
        base = state.base
        if operation.version is not None:
            base = operation.version - made
            if base < 0 or state.base not in (None, base):
                return None
        return self._pass(state, place)._replace(value=VALUE(operation), made=made, base=base)

    def _pass(self, state: State, place: int) -> State:
        """The state with one more place done, nothing else changed."""
        front, done = state.front, state.done | {place}
        while front in done:
            done -= {front}
            front += 1
        return state._replace(front=front, done=done)

    def _guess(self, state: State, deadline: int) -> Iterator[State]:
        """The states after one unknown operation; of equal ones the first called, which leaves most for later."""
        for index, (kind, used) in enumerate(zip(self.kinds, state.used, strict=True)):
            if used == len(kind) or kind[used].call > deadline:
                continue
            unknown = kind[used]
            value = VALUE(unknown) if unknown.op == "set" else state.value + unknown.by
            if not passes_limit(unknown, value):
                counts = (*state.used[:index], used + 1, *state.used[index + 1 :])
                yield state._replace(used=counts, value=value, made=state.made + 1)

    def stuck(self, furthest: State) -> Violation:
        """What the furthest try could not explain: of all that was left, the operation that had to come first."""
        places, _ = self._next(furthest)
        blocked = min((self.answered[place] for place in places), key=RET)
        before = self.answered[max(0, furthest.front - 1) : furthest.front]
        reason = f"in no order is there a place for {told(blocked)}: the furthest try stands at {furthest.value} there"
        return Violation(reason, (*before, blocked))
