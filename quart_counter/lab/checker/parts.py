"""Sort a history into what each rule looks at, with the attempts of one key made one operation (rule E)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter

from quart_counter.lab.checker.verdict import Violation, told
from quart_counter.lab.history import Operation

MAX_VALUE = 2**53 - 1  # the contract's cap: an add that would pass it is refused without any `limit`

# Getters that run in C: a million operations pass here, and most rules need one field of each.
BY = attrgetter("by")
CALL = attrgetter("call")
OP = attrgetter("op")
RET = attrgetter("ret")
VALUE = attrgetter("value")
VERSION = attrgetter("version")
_NAME = attrgetter("name")
_KEY = attrgetter("key")
_KIND = attrgetter("outcome", "op")


@dataclass
class Parts:
    """One counter's history, each operation once: what did not happen is gone."""

    mutations: list[Operation]  # adds, takes and sets that were answered
    unknowns: list[Operation]  # those that may have happened
    reads: list[Operation]
    refusals: list[Operation]  # adds and takes: which version a refused set asked for, a history does not tell
    gaps_allowed: bool = False

    @cached_property
    def rising(self) -> bool:
        """Whether every mutation is a positive add, so that the values alone force the order."""
        return min(map(BY, chain(self.mutations, self.unknowns)), default=1) > 0

    @cached_property
    def versioned(self) -> bool:
        """Whether every answered mutation says its version, so that the versions force the order."""
        return None not in map(VERSION, self.mutations)


def by_name(operations: Iterable[Operation]) -> dict[str, Sequence[Operation]]:
    """The operations of each counter, counters in the order they first appear; of nothing, one empty history."""
    history = operations if isinstance(operations, Sequence) else list(operations)
    if len(set(map(_NAME, history))) <= 1:
        return {history[0].name if history else "": history}
    names = defaultdict[str, list[Operation]](list)
    for operation in history:
        names[operation.name].append(operation)
    return dict(names)


def split(operations: Sequence[Operation]) -> tuple[Parts, Violation | None]:
    """The parts of one counter's history, and the first disagreement between two answers to one key."""
    merged, disagreement = _merge_keys(operations)
    kinds = defaultdict[tuple[str, str], list[Operation]](list)
    for kind, operation in zip(map(_KIND, merged), merged, strict=True):
        kinds[kind].append(operation)
    parts = Parts(
        mutations=[*kinds["ok", "add"], *kinds["ok", "take"], *kinds["ok", "set"]],
        unknowns=[*kinds["info", "add"], *kinds["info", "take"], *kinds["info", "set"]],
        reads=kinds["ok", "read"],
        refusals=[operation for operation in (*kinds["fail", "add"], *kinds["fail", "take"]) if operation.refused],
    )
    return parts, disagreement


def lowest_start(parts: Parts) -> int:
    """The start that explains a history if any does: just below all that it answers.

    A lower one only leaves more numbers to account for. Versions and refusals speak of the start too, so they would
    have a say in it. Raises: ValueError.
    """
    answered = [*parts.mutations, *parts.reads]
    if not parts.rising or parts.refusals or any(operation.version is not None for operation in answered):
        raise ValueError("an unknown start can be found among positive adds without versions, and reads, alone")
    return min((operation.value - operation.by for operation in answered if operation.value is not None), default=0)


def _merge_keys(operations: Sequence[Operation]) -> tuple[Sequence[Operation], Violation | None]:
    keyed = [operation for operation in operations if operation.key is not None and operation.op != "read"]
    if len(set(map(_KEY, keyed))) == len(keyed):
        return operations, None  # no key stands twice: nothing to merge
    attempts = defaultdict[str | None, list[Operation]](list)
    for operation in keyed:
        attempts[operation.key].append(operation)
    merged = [operation for operation in operations if operation.key is None or operation.op == "read"]
    for group in attempts.values():
        merged += _one_operation(group)
    return merged, next(filter(None, map(disagreeing_answers, attempts.values())), None)


def _one_operation(attempts: list[Operation]) -> Iterable[Operation]:
    """The attempts of one key as one operation: from its first call to its first answer, or to no end at all.

    Attempts answered "not applied" say nothing. A refusal is an answer, which the key keeps like any other. A key is
    one request: if a caller sent it for several and heard of none, each is judged as an operation of its own.
    """
    answer = _first_answer(attempts)
    possible = sorted((attempt for attempt in attempts if attempt.outcome != "fail" or attempt.refused), key=CALL)
    if answer is None:
        return {_request(attempt): attempt for attempt in reversed(possible)}.values()
    first = next(attempt for attempt in possible if _same_request(attempt, answer))
    versions = (attempt.version for attempt in attempts if attempt.outcome == "ok" and attempt.version is not None)
    return [answer._replace(call=first.call, version=next(versions, None))]


def disagreeing_answers(attempts: list[Operation]) -> Violation | None:
    """Two different answers to one key, if there are: every repeat must get the first answer."""
    first = _first_answer(attempts)
    for answer in attempts:
        if first is not None and _contradicts(answer, first):
            reason = f"key {first.key!a} got two answers: {told(first)}, and {told(answer)}"
            return Violation(reason, (first, answer))
    return None


def _first_answer(attempts: list[Operation]) -> Operation | None:
    applied = [attempt for attempt in attempts if attempt.outcome == "ok"]
    refused = [attempt for attempt in attempts if attempt.refused]
    return min(applied or refused, key=RET, default=None)


def _contradicts(answer: Operation, first: Operation) -> bool:
    """Refusing the key for another request contradicts nothing, and what a refusal saw beside it is no answer."""
    if answer.refused:
        return first.outcome == "ok" and _same_request(answer, first)
    if answer.outcome != "ok":
        return False
    versions = {answer.version, first.version} - {None}
    return not _same_request(answer, first) or answer.value != first.value or len(versions) > 1


def _same_request(one: Operation, other: Operation) -> bool:
    if one.refused or other.refused:  # a refused set need not say what it wanted
        return _request(one)[:-1] == _request(other)[:-1]
    return _request(one) == _request(other)


def _request(operation: Operation) -> tuple[object, ...]:
    wanted = operation.value if operation.op == "set" else None
    return operation.op, operation.by, operation.limit, wanted
