"""What a foreign counter may be forgiven: a start that nobody knows, and numbers that it leaves out."""

import random
from functools import lru_cache

import pytest
from histories import add, lost, put, read, refused
from oracle import FLAVOURS, history, linearizable

from quart_counter.lab.checker import check

RISING = ("adds", "adds of any size", "adds and reads", "unknown adds of one size", "unknown adds of different sizes")
NEVER = 10**9


def rising_histories(seed, number):
    """Random small histories of adds and reads that tell no version."""
    rng = random.Random(seed)
    for n in range(number):
        operations, start = history(rng, FLAVOURS[RISING[n % len(RISING)]]._replace(versions=0.0))
        yield [operation._replace(version=None) for operation in operations if not operation.refused], start


def some_start(operations):
    """Whether any start at all explains the history, by trying each that could."""
    values = [operation.value for operation in operations if operation.value is not None] or [0]
    return any(linearizable(operations, start) for start in range(min(values) - 12, max(values) + 1))


def with_gaps(operations, start):
    """Whether some order explains the history if the value may rise by itself at any moment."""
    answered = tuple(operation for operation in operations if operation.outcome == "ok")
    ends = [operation.ret for operation in answered]

    @lru_cache(None)
    def explains(left, value):
        if not left:
            return True
        for i in left:
            low = answered[i].value - answered[i].by
            in_time = all(ends[j] >= answered[i].call for j in left)
            if in_time and low >= value and explains(left - {i}, answered[i].value):
                return True
        return False

    return explains(frozenset(range(len(answered))), start)


def test_an_unknown_start_is_judged_as_brute_force_does():
    """Some start explains the history if and only if the one just below its answers does."""
    seen = {"valid": 0, "invalid": 0}
    for operations, _ in rising_histories(seed=11, number=1_500):
        verdict = check(operations, None)
        assert (verdict.verdict == "valid") == some_start(operations), operations
        seen[verdict.verdict] += 1
    assert min(seen.values()) > 300


def test_gaps_are_forgiven_as_brute_force_does():
    """Numbers left out are as good as numbers that somebody unseen took; duplicates and disorder are not forgiven."""
    seen = {"valid": 0, "invalid": 0}
    for operations, start in rising_histories(seed=12, number=3_000):
        verdict = check(operations, start, gaps_allowed=True)
        assert (verdict.verdict == "valid") == with_gaps(operations, start), operations
        assert verdict.anomalies["skipped"] == verdict.anomalies["overcount"] == 0
        assert bool(verdict.witness) == (verdict.verdict == "invalid")
        seen[verdict.verdict] += 1
    assert min(seen.values()) > 300


def test_a_start_in_the_middle():
    """Answers 8 and 9 are right for a counter that stood at 7, and for no other."""
    assert check([add(0, 1, 8), add(2, 3, 9)]).verdict == "invalid"
    assert check([add(0, 1, 8), add(2, 3, 9)], None).verdict == "valid"
    assert check([], None).verdict == "valid"


def test_a_first_read_tells_the_start():
    """It stood at 7 and the first number given was 9: 8 is missing."""
    verdict = check([read(0, 1, 7), add(2, 3, 9)], None)
    assert (verdict.verdict, verdict.anomalies["skipped"]) == ("invalid", 1)


@pytest.mark.parametrize("one", [put(0, 1, 3, version=1), refused(0, 1), add(0, 1, 3, version=2), lost(0, by=-1)])
def test_what_speaks_of_the_start_forbids_not_knowing_it(one):
    """Versions, refusals and decrements would have a say in it."""
    with pytest.raises(ValueError, match="an unknown start"):
        check([one, add(2, 3, 4)], None)


def test_a_sequence_may_leave_numbers_out():
    """As PostgreSQL's do after a rollback; with none forgiven it is two holes."""
    numbers = [add(0, 1, 3), add(2, 3, 40), read(4, 5, 41)]
    assert check(numbers).verdict == "invalid"
    assert check(numbers, gaps_allowed=True).verdict == "valid"


@pytest.mark.parametrize(
    ("operations", "anomaly"),
    [
        ([add(0, 9, 40), add(0, 9, 40)], "duplicate"),
        ([add(0, 1, 40), add(2, 3, 20)], "out_of_order"),
        ([add(0, 1, 40), read(2, 3, 39)], "stale"),
    ],
)
def test_a_sequence_may_do_nothing_else(operations, anomaly):
    """Leaving numbers out is no licence."""
    verdict = check(operations, gaps_allowed=True)
    assert (verdict.verdict, verdict.anomalies[anomaly]) == ("invalid", 1)
    assert verdict.witness
