"""What counting means: one pure function, `apply`, that every store runs or must agree with.

    state, outcome = apply(state, Change("tickets", by=1))

No clock, no lock, no I/O here: a store makes `apply` atomic, and the answer is the one computed inside that step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from quart_counter.errors import InvalidChange

MAX_VALUE = 2**53 - 1  # the largest integer that JSON in a browser and a Lua number both carry exactly (RFC 8259, 6)
MAX_BY = 2**31
MAX_KEYS = 1_000_000
MAX_VERSION = 2**52  # that may be restored: as much again is left for the counter to go on

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]{0,63}", re.ASCII)
RESERVED = "~"  # begins the names of counters of our own: no NAME does, so nobody reaches these by name
KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)

Reason: TypeAlias = Literal["bound", "cap", "version", "key_reused"]


class Change(NamedTuple):
    """One requested mutation: add `by`, or set to `value` when that is given (a reset sets 0).

    `limit` (for a positive `by`) and `floor` (for a negative one) bound the new value, inclusively; `if_version` asks
    for exactly that version; `key` makes repeats of the same change count once. `version` restores: beside the `value`
    that a counter had elsewhere it is the version it had there, and this one's becomes that, if that is the higher.
    """

    name: str
    by: int = 1
    value: int | None = None
    key: str | None = None
    limit: int | None = None
    floor: int | None = None
    if_version: int | None = None
    version: int | None = None


class Reading(NamedTuple):
    """Value and version together, of one moment. A mutation raises `version` by exactly 1, a restore by 1 or more."""

    value: int = 0
    version: int = 0


class Applied(NamedTuple):
    """It did. `value` and `version` are those it made; `replayed` says a repeat of the key got the first answer."""

    value: int
    version: int
    replayed: bool = False


class Refused(NamedTuple):
    """It was refused by rule, without effect; `value` and `version` are what the rule saw."""

    reason: Reason
    value: int
    version: int
    replayed: bool = False


class NotApplied(NamedTuple):
    """It did not happen and will not: safe to send again."""

    because: str


class OutcomeUnknown(NamedTuple):
    """It may have happened."""

    because: str


Outcome: TypeAlias = Applied | Refused | NotApplied | OutcomeUnknown


class Record(NamedTuple):
    """What a key keeps: which request it stood for, and the answer that request got."""

    fingerprint: str
    outcome: Applied | Refused


class State(NamedTuple):
    """All that `apply` looks at: the counter, what its change's key holds, and how many live keys the counter has."""

    value: int = 0
    version: int = 0
    record: Record | None = None
    keys: int = 0


def apply(state: State, change: Change, max_keys: int = MAX_KEYS) -> tuple[State, Outcome]:
    """Say what `change` does to `state`: the next state and the answer. Pure; this is the specification.

    A refusal is an answer too, so a key keeps it: every repeat of a key gets one and the same answer. Only a key sent
    for another request is refused without a record, and only a full quota answers `NotApplied`.
    """
    if change.key is None:
        return _decide(state, change)
    if state.record is not None:
        return state, _replay(state, change, state.record)
    if state.keys >= max_keys:
        return state, NotApplied(f"{change.name} already holds {max_keys} live idempotency keys, its quota")
    after, outcome = _decide(state, change)
    return after._replace(record=Record(fingerprint(change), outcome), keys=state.keys + 1), outcome


def _decide(state: State, change: Change) -> tuple[State, Applied | Refused]:
    if change.if_version is not None and change.if_version != state.version:
        return state, Refused("version", state.value, state.version)
    value = change.value if change.value is not None else state.value + change.by
    if change.limit is not None and value > change.limit:
        return state, Refused("bound", state.value, state.version)
    if change.floor is not None and value < change.floor:
        return state, Refused("bound", state.value, state.version)
    if not -MAX_VALUE <= value <= MAX_VALUE:
        return state, Refused("cap", state.value, state.version)
    version = max(state.version + 1, change.version or 0)
    return State(value, version, state.record, state.keys), Applied(value, version)


def _replay(state: State, change: Change, record: Record) -> Applied | Refused:
    if record.fingerprint != fingerprint(change):
        return Refused("key_reused", state.value, state.version)
    return record.outcome._replace(replayed=True)


def fingerprint(change: Change) -> str:
    """What two requests under one key must share to be the same request (all but the name and the key).

    Stores keep these for as long as a key lives, so a newer field must not change those of older requests; and a
    restore, the one change with a `version`, has no key.
    """
    return ",".join("" if part is None else str(part) for part in (*change[1:3], *change[4:7]))


class Step(NamedTuple):
    """Consecutive changes of one name that a store may carry out at once: `by` in all, or one change as it is."""

    changes: Sequence[Change]
    by: int


def fold(changes: Sequence[Change]) -> Iterator[Step]:
    """Group consecutive plain adds of one sign into steps; every other change is a step of its own.

    All changes are of one name. One sign: when the sum stays within the cap, every partial sum does.
    """
    run: list[Change] = []
    for change in changes:
        plain = _plain(change)
        if run and not (plain and (change.by > 0) == (run[0].by > 0)):
            yield _step(run)
            run = []
        if not plain:
            yield _step([change])
            continue
        run.append(change)
    if run:
        yield _step(run)


def unfold(step: Step, reading: Reading) -> list[Applied]:
    """Give each change of a step its own answer, from the one reading after all of them.

    From the reply (v, w) of n changes with sum s, change j gets value v - s + (the sum up to j) and version w - n + j.
    """
    value, version = reading.value - step.by, reading.version - len(step.changes)
    answers = []
    for change in step.changes:
        value += change.by
        version += 1
        answers.append(Applied(value, version))
    return answers


_NOTHING_MORE = (None,) * (len(Change._fields) - 2)


def _plain(change: Change) -> bool:
    return change[2:] == _NOTHING_MORE


def _step(changes: list[Change]) -> Step:
    return Step(changes, sum(change.by for change in changes))


def check_name(name: str) -> None:
    """Raise `InvalidChange` unless `name` is 1 to 64 of the characters a counter's name may have."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidChange(
            f"{name!r:.100} is no counter name: use 1 to 64 of A-Z a-z 0-9 . _ ~ - and start with a letter or digit"
        )


def check_change(change: Change) -> Change:
    """Return `change` if it is possible at all, else raise `InvalidChange` with what to do."""
    name, by = change[:2]
    check_name(name)
    _check_int("by", by, MAX_BY)
    if by == 0:
        raise InvalidChange("by is 0: use a whole number from 1 to 2147483648, or negative to count down")
    if _plain(change):
        return change
    for field in ("value", "limit", "floor"):
        number = getattr(change, field)
        if number is not None:
            _check_int(field, number, MAX_VALUE)
    if change.if_version is not None:
        _check_int("if_version", change.if_version, MAX_VALUE)
    _check_restore(change)
    if change.key is not None and (not isinstance(change.key, str) or not KEY.fullmatch(change.key)):
        raise InvalidChange("key: use 1 to 255 visible ASCII characters, for example a UUID")
    if change.limit is not None and change.by < 0:
        raise InvalidChange("limit bounds a count upwards: give a positive by, or a floor for a negative one")
    if change.floor is not None and change.by > 0:
        raise InvalidChange("floor bounds a count downwards: give a negative by, or a limit for a positive one")
    return change


def _check_restore(change: Change) -> None:
    if change.version is None:
        return
    if change.value is None or change.key is not None:
        raise InvalidChange("version restores a counter: give it with a value, and without a key")
    _check_int("version", change.version, MAX_VERSION)
    if change.version < 1:
        raise InvalidChange("version must be 1 or more: 0 is that of a counter never touched")


def _check_int(field: str, number: object, largest: int) -> None:
    if type(number) is not int:  # bool is a subclass of int, and True is no number of tickets
        raise InvalidChange(f"{field} must be a whole number, not {number!r:.100}")
    if not -largest <= number <= largest:
        raise InvalidChange(f"{field} must lie within ±{largest}")
