"""The fewest chains, each counting up by one in the order of time, that the answers of a history fall into.

A counter that is right makes one chain. Two processes that count alone make two, a counter that is reset makes one
for every beginning, and each lost update begins a short one of its own: so many chains explain nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from operator import lt
from typing import Final, Self, TypeAlias

from quart_counter.lab.checker.parts import CALL, RET, VALUE
from quart_counter.lab.history import Operation

Chain: TypeAlias = list[Operation]
NEVER: Final = 1 << 80  # further than any clock goes
TOLERATED: Final = 0.1  # of the answers of a chain may be guessed into the wrong one
OVERTAKEN: Final = 0.2  # of the pairs among neighbours in time
CROWD: Final = 10  # neighbours that overtake each other


def fewest(answers: Iterable[Operation]) -> int:
    """How many chains there must be at least: one begins wherever a number was answered more often than the last."""
    times = Counter(map(VALUE, answers))
    return sum(max(0, often - times.get(value - 1, 0)) for value, often in times.items())


def chains(answers: Sequence[Operation]) -> list[Chain]:
    """That many chains, the first begun first; an answer continues a chain that it can follow and that is near in time.

    Where a chain stopped, none can be told from the others by its numbers, so time decides which one goes on.
    """
    by_value = defaultdict[int, list[Operation]](list)
    for answer in sorted(answers, key=RET):
        by_value[VALUE(answer)].append(answer)
    ended: list[_Growing] = []
    growing: list[_Growing] = []
    for value in sorted(by_value):
        if value - 1 not in by_value:
            ended, growing = ended + growing, []
        stopped, growing = _continued(growing, by_value[value])
        ended += stopped
    return sorted((chain.line for chain in ended + growing), key=lambda line: min(map(RET, line)))


class _Growing:
    """A chain and its latest call: what had returned before that cannot follow it."""

    def __init__(self, first: Operation) -> None:
        self.line = [first]
        self.latest_call: int = CALL(first)

    def grow(self, answer: Operation) -> Self:
        self.line.append(answer)
        self.latest_call = max(self.latest_call, CALL(answer))
        return self

    def distance(self, answer: Operation) -> int:
        """How far in time the answer is from the last one: four times as far if it returned before that."""
        if RET(answer) < self.latest_call:
            return NEVER
        later: int = RET(answer) - RET(self.line[-1])
        return max(later, -4 * later)


def _continued(growing: list[_Growing], answers: list[Operation]) -> tuple[list[_Growing], list[_Growing]]:
    """The chains that found no next answer, and those that did; an answer that found no chain begins one.

    Both are paired in order of time, which leaves none without a partner whom another pairing would have served.
    """
    growing = sorted(growing, key=lambda chain: (chain.latest_call, RET(chain.line[-1])))
    distances = [[chain.distance(answer) for answer in answers] for chain in growing]
    pairs = dict(_nearest_in_order(distances))
    continued = [growing[place].grow(answers[of]) for place, of in pairs.items()]
    begun = [_Growing(answer) for of, answer in enumerate(answers) if of not in set(pairs.values())]
    return [chain for place, chain in enumerate(growing) if place not in pairs], continued + begun


def _nearest_in_order(distances: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Pair rows with columns, as many as there can be, without crossing, at the smallest sum of distances."""
    rows, columns = len(distances), len(distances[0]) if distances else 0
    if rows > columns:
        turned = _nearest_in_order(list(zip(*distances, strict=True))) if columns else []
        return [(row, column) for column, row in turned]
    # best[row][column]: the sum for the rows from this one on, with the columns from this one on
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for row in reversed(range(rows)):
        best[row][columns] = NEVER * NEVER
        for column in reversed(range(columns)):
            paired = distances[row][column] + best[row + 1][column + 1]
            best[row][column] = min(paired, best[row][column + 1])
    pairs: list[tuple[int, int]] = []
    for column in range(columns):
        row = len(pairs)
        if row < rows and best[row][column] != best[row][column + 1]:
            pairs.append((row, column))
    return pairs


def in_order(chain: Chain) -> bool:
    """Whether (all but) no answer of the chain had returned before a smaller one was called.

    A few may: which answers belong together is guessed number by number, without looking ahead.
    """
    latest_calls = accumulate(map(CALL, chain), max)
    early: int = sum(map(lt, map(RET, chain), latest_calls))
    return early <= TOLERATED * len(chain)


def one_after_the_other(line: Sequence[Chain]) -> bool:
    """Whether each chain had (all but) ended when the next began, by the times of return."""
    return all(_apart(before, after) for before, after in pairwise(line))


def _apart(before: Chain, after: Chain) -> bool:
    """Whether few pairs, one of each chain, returned in the other order: no more than requests overtake each other.

    Side by side it would be half of all pairs, or of those of the time that they share. (To all pairs is no measure: a
    short chain beside a long one leaves most of them in order.)
    """
    moments = sorted([(RET(one), True) for one in before] + [(RET(one), False) for one in after])
    inverted = seen = 0
    for _, is_before in moments:
        if is_before:
            inverted += seen
        else:
            seen += 1
    shorter = min(len(before), len(after))
    return inverted <= OVERTAKEN * shorter * min(shorter, CROWD)
