"""The operations of a row as a page needs them: times from the first call on, a letter for each server process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any, Final, NamedTuple

from quart_counter.lab.history import Operation
from quart_counter.lab.lanes import elapsed

HUES: Final = 6  # colours (and shapes) that tell processes apart; the seventh process looks like the first


class Owner(NamedTuple):
    """A server process: its letter on the page, its process id, and which of the HUES is its colour."""

    letter: str
    pid: int
    hue: int

    def __str__(self) -> str:
        return f"process {self.letter}"


class Call(NamedTuple):
    """One recorded call. `start` and `end` are nanoseconds since the first call; `end` is None if nobody answered."""

    client: int
    op: str
    start: int
    end: int | None
    outcome: str
    value: int | None
    owner: Owner | None
    witness: bool

    @property
    def took(self) -> int | None:
        """Nanoseconds from call to return."""
        return None if self.end is None else self.end - self.start

    @property
    def who(self) -> str:
        """The client, and the server process that answered it, if that is known."""
        return f"client {self.client}" + (f", {self.owner}" if self.owner else "")

    @property
    def answer(self) -> str:
        """What it was told: `7`, `failed`, or `?` if that is unknown."""
        if self.outcome == "ok":
            return str(self.value)
        return "failed" if self.outcome == "fail" else "?"

    def __str__(self) -> str:
        if self.end is None or self.outcome == "info":
            return f"{self.who}: {self.op} at {elapsed(self.start)}, outcome unknown"
        told = f"answered {self.value}" if self.outcome == "ok" else "failed"
        return f"{self.who}: {self.op} at {elapsed(self.start)}, {told} at {elapsed(self.end)}"


def calls(
    operations: Sequence[Operation], owned: Mapping[int, int], witness: Iterable[Mapping[str, Any]]
) -> Sequence[Call]:
    """Every operation, in the order of the calls. `owned`: the process id of each, by its index, where it is known.

    `witness`: those to look at, as documents.
    """
    letters = owners([owned[i] for i in sorted(owned)])
    seen = {(told["process"], told["call"]) for told in witness}
    zero = min((operation.call for operation in operations), default=0)
    called = [_call(op, zero, letters.get(owned.get(i, 0)), seen) for i, op in enumerate(operations)]
    return sorted(called, key=lambda call: call.start)


def owners(pids: Sequence[int]) -> dict[int, Owner]:
    """Give each process id a letter, in the order of their first answers; a single process needs none. 0 is unknown."""
    distinct = [pid for pid in dict.fromkeys(pids) if pid]
    if len(distinct) < 2:
        return {}
    named = enumerate(zip(distinct, _letters(), strict=False))
    return {pid: Owner(letter, pid, i % HUES) for i, (pid, letter) in named}


def _letters() -> Iterator[str]:
    """A, B, … Z, A2, B2, …"""
    yield from ascii_uppercase
    for round_ in range(2, 1000):
        yield from (f"{letter}{round_}" for letter in ascii_uppercase)


def _call(op: Operation, zero: int, owner: Owner | None, seen: set[tuple[int, int]]) -> Call:
    end = None if op.ret is None else op.ret - zero
    return Call(op.process, op.op, op.call - zero, end, op.outcome, op.value, owner, (op.process, op.call) in seen)
