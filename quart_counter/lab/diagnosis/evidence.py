"""What can be asked of a history that is known to be wrong: who got the same number, who came after whom."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final, NamedTuple, TypeAlias

from quart_counter.lab.checker import Verdict, check
from quart_counter.lab.checker.parts import CALL, RET, VALUE
from quart_counter.lab.diagnosis.chains import Chain, chains, fewest, in_order
from quart_counter.lab.history import Operation, max_in_flight

Pair: TypeAlias = tuple[Operation, Operation]
MOST_CHAINS: Final = 64  # more processes than that nobody runs on one port, and looking for them takes time
SOME: Final = 10  # answers; fewer may all come from one process


class Hole(NamedTuple):
    """Numbers that nobody got, and the answers either side of them (below the first answer there is none)."""

    first: int
    last: int
    around: tuple[Operation, ...]


class Evidence:
    """One history and its verdict. Adds of one each are looked into; with others, only the verdict is believed."""

    def __init__(self, operations: Sequence[Operation], verdict: Verdict, start: int | None, gaps_allowed: bool):
        self.operations = operations
        self.verdict = verdict
        self.start = start
        self.gaps_allowed = gaps_allowed
        self.anomalies = verdict.anomalies
        self.answers = sorted(_answered(operations), key=RET)
        self.failed = [op for op in operations if op.op == "add" and op.outcome == "fail"]
        self.reads = [op for op in operations if op.op == "read" and op.outcome == "ok"]

    @property
    def faults_beside_gaps(self) -> bool:
        """Whether something is wrong that is not a skipped number."""
        return any(self.anomalies[name] for name in ("duplicate", "out_of_order", "stale", "lost"))

    @cached_property
    def by_client(self) -> list[list[Operation]]:
        """The answers of each client, in the order of their return."""
        clients = defaultdict[int, list[Operation]](list)
        for answer in self.answers:
            clients[answer.process].append(answer)
        return list(clients.values())

    @cached_property
    def same(self) -> list[list[Operation]]:
        """The answers that were given more than once, those of one number together in the order of their calls."""
        groups = defaultdict[int, list[Operation]](list)
        for answer in sorted(self.answers, key=CALL):
            groups[VALUE(answer)].append(answer)
        return [group for group in groups.values() if len(group) > 1]

    @cached_property
    def repeats(self) -> int:
        """Answers beyond the first of their number."""
        return sum(len(group) - 1 for group in self.same)

    @cached_property
    def same_apart(self) -> list[Pair]:
        """For each number that two requests got one after the other: the first answered and the last asked."""
        pairs = ((min(group, key=RET), group[-1]) for group in self.same)
        return [(early, late) for early, late in pairs if early.ret is not None and early.ret < late.call]

    @cached_property
    def overtaken(self) -> int:
        """Of those numbers, how many were given again although a larger one had been answered by then."""
        largest = list(accumulate(map(VALUE, self.answers), max))
        returns = list(map(RET, self.answers))
        return sum(largest[bisect_left(returns, CALL(late)) - 1] > VALUE(late) for _, late in self.same_apart)

    @cached_property
    def same_at_once(self) -> list[Pair]:
        """Two neighbours in time that got the same number while both were under way, the shortest such pair first."""
        neighbours = (pair for group in self.same for pair in pairwise(group))
        return sorted(((a, b) for a, b in neighbours if RET(a) >= CALL(b)), key=_span)

    @cached_property
    def backward(self) -> Pair | None:
        """A request that had its answer before another was sent, which then got a smaller number."""
        latest: Operation | None = None
        for answer in sorted(self.answers, key=lambda op: (VALUE(op), -CALL(op))):
            if latest is not None and RET(answer) < CALL(latest) and VALUE(answer) > VALUE(latest):
                return answer, latest
            latest = answer if latest is None else max(latest, answer, key=CALL)
        return None

    @cached_property
    def holes(self) -> list[Hole]:
        """The numbers between the start (if it is known) and the last answer that nobody got."""
        line = sorted(self.answers, key=VALUE)
        holes = [Hole(VALUE(a) + 1, VALUE(b) - 1, (a, b)) for a, b in pairwise(line) if VALUE(b) > VALUE(a) + 1]
        if line and self.start is not None and VALUE(line[0]) > self.start + 1:
            holes.insert(0, Hole(self.start + 1, VALUE(line[0]) - 1, (line[0],)))
        return holes

    @cached_property
    def runs(self) -> list[Chain]:
        """The numbers without a hole among them, the smallest first; of answers to one number the first."""
        first = {VALUE(answer): answer for answer in reversed(self.answers)}
        runs: list[Chain] = []
        for value in sorted(first):
            if value - 1 not in first:
                runs.append([])
            runs[-1].append(first[value])
        return runs

    @cached_property
    def used_up(self) -> list[Pair]:
        """Each number that was asked for after its follower had been answered, and that: there one series met another.

        The first met first.
        """
        neighbours = (pair for run in self.runs for pair in pairwise(run))
        return sorted(((a, b) for a, b in neighbours if RET(b) < CALL(a)), key=lambda pair: RET(pair[0]))

    def asked_since(self, operation: Operation) -> int:
        """How many of the answers were asked for when this one had returned."""
        return sum(CALL(answer) > RET(operation) for answer in self.answers)

    @cached_property
    def two_rounds(self) -> int:
        """Twice as many answers as were under way at once: by then whoever still counts has counted again."""
        return max(SOME, 2 * max_in_flight(self.answers))

    @cached_property
    def chains(self) -> list[Chain]:
        """The fewest chains that the answers fall into, the first begun first; none if time contradicts them."""
        if fewest(self.answers) > MOST_CHAINS:
            return []
        found = chains(self.answers)
        return found if all(map(in_order, found)) else []

    def begins_by_itself(self, chain: Chain) -> bool:
        """Whether nobody had been given the number before its first: else somebody read that and added to it."""
        first = chain[0]
        return not any(VALUE(op) == VALUE(first) - 1 and RET(op) < RET(first) for op in self.answers)

    @cached_property
    def resumed(self) -> int:
        """How often a chain went on after another had, in the order of return."""
        whose = {id(answer): i for i, chain in enumerate(self.chains) for answer in chain}
        changes = sum(whose[id(a)] != whose[id(b)] for a, b in pairwise(self.answers))
        return max(0, changes + 1 - len(self.chains))

    @cached_property
    def turns(self) -> int:
        """Answers that returned right after a larger one."""
        return steps_back(self.answers)

    @cached_property
    def failures_explain_the_holes(self) -> bool:
        """Whether all would be right if the requests that failed had taken a number each."""
        if not self.failed:
            return False
        lowest = VALUE(min(self.answers, key=VALUE)) - 1 if self.answers else 0
        start = lowest if self.start is None else self.start
        return check(map(_maybe_applied, self.operations), start).verdict == "valid"


def steps_back(answers: Sequence[Operation]) -> int:
    """How many of the answers are smaller than the one before."""
    return sum(VALUE(b) < VALUE(a) for a, b in pairwise(answers))


def _answered(operations: Iterable[Operation]) -> Iterable[Operation]:
    return (op for op in operations if op.op == "add" and op.outcome == "ok" and op.by == 1)


def _span(pair: Pair) -> int:
    span: int = max(map(RET, pair)) - min(map(CALL, pair))
    return span


def _maybe_applied(operation: Operation) -> Operation:
    if operation.outcome != "fail":
        return operation
    return operation._replace(outcome="info", refused=False)
