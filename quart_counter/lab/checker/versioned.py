"""A history laid out along its versions: which states the counter went through, and what unknown operations made."""

from collections.abc import Iterator
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from quart_counter.lab.checker.order import CALL, VALUE, VERSION, passes_limit
from quart_counter.lab.checker.parts import Parts
from quart_counter.lab.history import Operation

_OP = attrgetter("op")


class Step(NamedTuple):
    """One operation of the line, and the state it left or saw: `index` counts the states from the start's 0."""

    operation: Operation
    index: int
    filled: int  # the states just before it that unknown operations made


class Broken(NamedTuple):
    """Where the replay stopped: no way leads from `before` (None: the start) to `operation`."""

    before: Operation | None
    operation: Operation
    missing: int  # the versions between them that nobody answered for; 0 if they are neighbours
    certain: bool  # whether no choice of unknown operations could have led there


class Versioned:
    """One line of versions from the start upwards, walked once."""

    def __init__(self, parts: Parts, start: int, start_version: int | None) -> None:
        self.parts = parts
        self.start_version = start_version
        self.states = [start]
        self.steps: list[Step] = []
        self.broken: Broken | None = None

    @cached_property
    def line(self) -> list[Operation]:
        """Mutations and the reads that say a version: a read stands after the mutation that made its version."""
        reads = [read for read in self.parts.reads if read.version is not None]
        return sorted([*sorted(self.parts.mutations, key=VERSION), *sorted(reads, key=CALL)], key=VERSION)
