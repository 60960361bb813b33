"""A second judge that is slow and plainly right, random small histories, and a comparison of the two.

    python -m tests.lab.oracle --histories 1000000 --seed 1

The judge tries every order: at each step, any operation that nothing left over returned before. It shares no code
with the checker but the `Operation`. Histories come from simulating one true counter with overlapping calls, and more
than half of them are then spoilt a little, so that both verdicts are common.
"""

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from typing import NamedTuple

from quart_counter.lab import checker
from quart_counter.lab.checker import anomalies
from quart_counter.lab.checker.parts import split
from quart_counter.lab.history import Operation

CAP = 2**53 - 1
NEVER = 10**9


# --- the judge -----------------------------------------------------------------------------------------------------


def linearizable(operations: list[Operation], start: int, start_version: int | None = None) -> bool:
    """Whether some order of the operations, each within its interval, is what one counter would have answered."""
    merged = merge(operations)
    if merged is None:
        return False
    told = [op.version for op in merged if op.version is not None]
    if start_version is not None or not told:
        return orders(tuple(merged), start, start_version or 0)
    bases = {told[0] - before for before in range(len(merged) + 1)}
    return any(orders(tuple(merged), start, base) for base in bases if base >= 0)


def orders(operations: tuple[Operation, ...], start: int, start_version: int) -> bool:
    ends = [NEVER if op.outcome == "info" else op.ret for op in operations]
    required = frozenset(i for i, op in enumerate(operations) if op.outcome != "info")

    @lru_cache(None)
    def explains(left: frozenset[int], value: int, version: int) -> bool:
        if not left & required:
            return True
        for i in left:
            if any(ends[j] < operations[i].call for j in left):
                continue
            after = answer(operations[i], value, version)
            if after is not None and explains(left - {i}, *after):
                return True
        return False

    return explains(frozenset(range(len(operations))), start, start_version)


def answer(op: Operation, value: int, version: int) -> tuple[int, int] | None:
    """The state after the operation, or None if it would not have answered so."""
    if op.op == "read":
        after = (value, version)
    elif op.op == "set":
        after = (op.value, version + 1)
    else:
        after = (value + op.by, version + 1)
    passes = op.limit is not None and (after[0] > op.limit if op.by > 0 else after[0] < op.limit)
    if op.refused:
        capped = op.op != "set" and (after[0] > CAP if op.by > 0 else after[0] < -CAP)
        return (value, version) if op.op == "set" or passes or capped else None
    if passes:
        return None
    if op.outcome == "ok" and (op.value != after[0] or op.version not in (None, after[1])):
        return None
    return after


def merge(operations: list[Operation]) -> list[Operation] | None:
    """One operation a key, without what did not happen; None if a key got two answers."""
    merged, keys = [], {}
    for op in operations:
        if op.outcome == "fail" and not op.refused:
            continue
        if op.op == "read":
            if op.outcome == "ok":
                merged.append(op)
        elif op.key is None:
            merged.append(op)
        else:
            keys.setdefault(op.key, []).append(op)
    for attempts in keys.values():
        answers = sorted((a for a in attempts if a.outcome != "info"), key=lambda a: a.ret)
        requests = {(a.op, a.by, a.limit) for a in answers if a.outcome == "ok"}
        if len(requests) > 1:
            return None
        if requests:  # to refuse the key for another request is right
            answers = [a for a in answers if (a.op, a.by, a.limit) in requests]
            attempts = [a for a in attempts if (a.op, a.by, a.limit) in requests]
        if not answers:
            requests = {(a.op, a.by, a.limit, a.value if a.op == "set" else None) for a in attempts}
            for op, by, limit, wanted in requests:
                same = [a for a in attempts if (a.op, a.by, a.limit) == (op, by, limit) and wanted in (None, a.value)]
                merged.append(min(same, key=lambda a: a.call))
            continue
        if len({a.refused for a in answers}) > 1 or (
            answers[0].outcome == "ok" and len({a.value for a in answers}) > 1
        ):
            return None
        versions = {a.version for a in answers if a.version is not None and not a.refused}
        if len(versions) > 1:
            return None
        other = [a for a in attempts if a.op == "set" and answers[0].outcome == "ok" and a.value != answers[0].value]
        first_call = min(a.call for a in attempts if a not in other)
        merged.append(answers[0]._replace(call=first_call, version=min(versions, default=None)))
    return merged


# --- the histories -------------------------------------------------------------------------------------------------


class Flavour(NamedTuple):
    """What the histories of one class are made of."""

    sizes: tuple[int, ...]
    ops: str = "add"
    unknown: float = 0.0
    versions: float = 0.0
    keys: float = 0.0


FLAVOURS = {
    "adds": Flavour((1,)),
    "adds of any size": Flavour((1, 2, 3)),
    "adds and reads": Flavour((1, 2), "add add read"),
    "adds and reads with versions": Flavour((1, 2), "add add read", versions=1.0),
    "unknown adds of one size": Flavour((2,), "add add read", unknown=0.4),
    "unknown ones with versions": Flavour((1,), "add add read", unknown=0.4, versions=0.6),
    "unknown adds of different sizes": Flavour((1, 2, 3), "add add add read", unknown=0.5, versions=0.3),
    "bounded takes": Flavour((1,), "take take add read", unknown=0.2),
    "bounded takes of any size": Flavour((1, 2), "take take read", unknown=0.3, versions=0.3),
    "keys": Flavour((1,), "add add read", unknown=0.3, versions=0.3, keys=0.7),
    "keys of any size": Flavour((1, 2), "add take read", unknown=0.3, versions=0.5, keys=0.7),
    "up and down with versions": Flavour((1, -1, 2), "add add read", versions=1.0),
    "sets with versions": Flavour((1, -1), "add set read", versions=1.0),
    "down, unknown, with versions": Flavour((-1,), "add add take read", unknown=0.3, versions=1.0),
    "everything with versions": Flavour((1, -1, 2), "add take set read", unknown=0.3, versions=1.0, keys=0.2),
    "up and down, some versions": Flavour((1, -1), "add add set read", unknown=0.15, versions=0.5),
    "everything without versions": Flavour((1, -1, 2), "add take set read", unknown=0.2, keys=0.2),
}


def history(rng: random.Random, flavour: Flavour) -> tuple[list[Operation], int]:
    """A history of up to 8 operations, and the value its counter started from."""
    start = rng.choice((0, 0, 0, 1, 5, -2, CAP - 1))
    operations = list(simulate(rng, flavour, start))
    for _ in range(rng.choice((0, 1, 2, 3, 4))):
        operations = spoil(rng, operations)
    rng.shuffle(operations)
    return operations, start


def simulate(rng: random.Random, flavour: Flavour, start: int, most: int = 8) -> Iterator[Operation]:
    """What the callers of one true counter see. Times are few, so that many fall on the same instant."""
    value, version = start, rng.choice((0, 0, 0, 3))
    one_limit = start + rng.randint(-1, 4)
    pace, wide = rng.choice((1, 2, 4)), rng.choice((1, 3, 8))
    moment, left = 20, rng.randint(1, most)
    while left > 0:
        moment += rng.randint(0, pace)
        op = rng.choice(flavour.ops.split())
        by = rng.choice(flavour.sizes) if op in ("add", "take") else 0
        limit = rng.choice((one_limit, one_limit, None, start + rng.randint(-2, 3))) if op == "take" else None
        wanted = rng.choice((0, start, value + 1)) if op == "set" else value + by
        refused = op != "read" and (
            abs(wanted) > CAP or (limit is not None and (wanted > limit if by > 0 else wanted < limit))
        )
        if not refused:
            value, version = wanted, version + (op != "read")
        told = version if rng.random() < flavour.versions else None
        made = Operation(
            rng.randint(0, 9),
            op,
            "n",
            by,
            limit,
            None,
            moment - rng.randint(0, wide),
            moment + rng.randint(0, wide),
            "fail" if refused else "ok",
            refused,
            None if refused else value,
            None if refused else told,
        )
        attempts = [made]
        if op != "read" and rng.random() < flavour.unknown:
            attempts = [silent(rng, made)]
            if rng.random() < 0.5 and not refused:  # it never arrived: take it back
                value, version = (value - by if op != "set" else value), version - 1
                if op == "set":
                    return
        elif op != "read" and rng.random() < flavour.keys:
            attempts = retries(rng, made, min(left, 3), f"k{left}", wide)
        yield from attempts
        left -= len(attempts)


def silent(rng: random.Random, made: Operation) -> Operation:
    """The same call, unanswered: when it happened is anybody's guess."""
    value = made.value if made.op == "set" else None
    if made.op == "set" and value is None:
        value = 0
    ret = rng.choice((None, made.ret))
    return made._replace(outcome="info", refused=False, ret=ret, value=value, version=None)


def retries(rng: random.Random, made: Operation, most: int, key: str, wide: int) -> list[Operation]:
    """Attempts under one key around the one that was answered."""
    made = made._replace(key=key)
    attempts = [made]
    while len(attempts) < most:
        call = made.call + rng.randint(-wide, 2 * wide)
        other = made._replace(call=call, ret=max(call, made.ret) + rng.randint(0, wide))
        kind = rng.choice(("info", "fail", "again"))
        if kind == "info" or call > made.ret:
            other = silent(rng, other)
        elif kind == "fail":
            value = other.value if other.op == "set" else None
            other = other._replace(outcome="fail", refused=False, value=value, version=None)
        attempts.append(other)
    return attempts


def spoil(rng: random.Random, operations: list[Operation]) -> list[Operation]:
    """One thing goes wrong. (It may still be a history that a true counter explains.)"""
    if not operations:
        return operations
    i = rng.randrange(len(operations))
    op = operations[i]
    change = rng.choice(SPOILS)(rng, op, operations)
    return [*operations[:i], *change, *operations[i + 1 :]]


def _value(rng: random.Random, op: Operation, _: list[Operation]) -> list[Operation]:
    return [op if op.value is None else op._replace(value=op.value + rng.choice((-2, -1, 1, 2)))]


def _version(rng: random.Random, op: Operation, _: list[Operation]) -> list[Operation]:
    return [op if op.version is None else op._replace(version=max(0, op.version + rng.choice((-1, 1))))]


def _swap(rng: random.Random, op: Operation, operations: list[Operation]) -> list[Operation]:
    other = rng.choice(operations)
    if other.outcome != "ok" or op.outcome != "ok":
        return [op]
    return [op._replace(value=other.value, version=other.version)]


def _time(rng: random.Random, op: Operation, _: list[Operation]) -> list[Operation]:
    by = rng.choice((-4, -2, -1, 1, 2, 4))
    return [op._replace(call=op.call + by, ret=None if op.ret is None else op.ret + by)]


def _shorter(rng: random.Random, op: Operation, _: list[Operation]) -> list[Operation]:
    return (
        [op._replace(call=op.ret) if rng.random() < 0.5 else op._replace(ret=op.call)] if op.ret is not None else [op]
    )


def _gone(_: random.Random, op: Operation, __: list[Operation]) -> list[Operation]:
    return []


def _unheard(rng: random.Random, op: Operation, _: list[Operation]) -> list[Operation]:
    return [op] if op.op == "read" else [silent(rng, op)]


def _refused(_: random.Random, op: Operation, __: list[Operation]) -> list[Operation]:
    if op.op == "read" or op.outcome != "ok":
        return [op]
    return [op._replace(outcome="fail", refused=True, value=None, version=None)]


SPOILS: tuple[Callable[[random.Random, Operation, list[Operation]], list[Operation]], ...] = (
    _value,
    _value,
    _version,
    _swap,
    _time,
    _time,
    _shorter,
    _gone,
    _unheard,
    _refused,
)


# --- the comparison ------------------------------------------------------------------------------------------------


class Disagreement(AssertionError):
    """The two judges differ, or a verdict lacks what it must come with."""


def compare(seed: int, number: int) -> Counter[tuple[str, str]]:
    """Judge so many random histories twice. Returns how often each class met each verdict, and needed the search."""
    rng = random.Random(seed)
    classes = list(FLAVOURS)
    tally: Counter[tuple[str, str]] = Counter()
    for n in range(number):
        name = classes[n % len(classes)]
        operations, start = history(rng, FLAVOURS[name])
        with counting_searches(tally, name):
            verdict = checker.check(operations, start)
        agree(verdict, operations, start)
        tally[name, verdict.verdict] += 1
        for cause in verdict.unknown:
            tally[name, f"unknown: {cause}"] += 1
    return tally


class counting_searches:  # noqa: N801 - reads as the verb it is
    """While it lasts, count the histories that the sorts leave to the search."""

    def __init__(self, tally: Counter[tuple[str, str]], name: str) -> None:
        self.tally, self.name, self.search = tally, name, checker.search

    def __enter__(self) -> None:
        def counted(parts, start, start_version, undecided):
            self.tally[self.name, f"searched: {undecided.cause}"] += 1
            return self.search(parts, start, start_version, undecided)

        checker.search = counted

    def __exit__(self, *_: object) -> None:
        checker.search = self.search


def agree(verdict: checker.Verdict, operations: list[Operation], start: int) -> None:
    """Raise Disagreement unless the verdict is the brute force's, with all that belongs to it."""
    truth = "valid" if linearizable(operations, start) else "invalid"
    listed = "\n".join(map(repr, operations))
    if verdict.verdict not in (truth, "unknown"):
        raise Disagreement(f"start {start}: {truth}, but judged {verdict.verdict} ({verdict.reason}):\n{listed}")
    if verdict.verdict == "invalid" and not (verdict.witness and verdict.reason):
        raise Disagreement(f"invalid without witness or reason:\n{listed}")
    if truth == "valid" and any(anomalies.count(split(operations)[0], start, None).values()):
        raise Disagreement(f"start {start}: anomalies counted in a valid history:\n{listed}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--histories", type=int, default=20_000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--processes", type=int, default=2)
    chosen = arguments.parse_args()
    began = time.monotonic()
    chunk = 10_000
    sizes = [min(chunk, chosen.histories - done) for done in range(0, chosen.histories, chunk)]
    seeds = [chosen.seed * 1_000_003 + n for n in range(len(sizes))]
    tally: Counter[tuple[str, str]] = Counter()
    with ProcessPoolExecutor(chosen.processes, get_context("spawn")) as pool:
        for part in pool.map(compare, seeds, sizes):
            tally += part
    columns = ("valid", "invalid", "unknown", "searched: sizes", "searched: versions")
    for name in (*FLAVOURS, "all"):
        row = [sum(n for (c, v), n in tally.items() if v == col and name in (c, "all")) for col in columns]
        print(f"{name:34}" + "".join(f"{number:>10,} {col}" for number, col in zip(row, columns, strict=True)))  # noqa: T201
    print(f"{chosen.histories:,} histories, seed {chosen.seed}: no disagreement; {time.monotonic() - began:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
