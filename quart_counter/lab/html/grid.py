"""Each number a cell: handed out once, more than once, or never. Of too many, a cell is a block."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Final, NamedTuple

from quart_counter.lab.html.calls import Call, Owner

LARGE: Final = 200  # numbers that get a cell which shows the number itself
SMALL: Final = 2_500  # numbers that get a cell at all
BLOCKS: Final = 120  # cells, at most, where a cell is a block
GROUP: Final = 100  # small cells under one heading
NAMED: Final = 6  # callers named in one cell
SPANS: Final = 60  # ranges told in words


class Chip(NamedTuple):
    """Who handed the number out: a process, and how often."""

    owner: Owner
    times: int


class Cell(NamedTuple):
    """One number, or a block of them. `kind`: `once`, `more`, `never`. `mark`: what is in it beside the number."""

    name: str
    kind: str
    mark: str
    told: str
    chips: Sequence[Chip] = ()


class Group(NamedTuple):
    """Cells under one heading; none where all of them would be hollow."""

    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Grid:
    """The numbers from `first` to `last`; `size`: `large`, `small` or `blocks` (of `block` numbers each)."""

    first: int
    last: int
    size: str
    block: int
    groups: Sequence[Group]
    once: int
    more: int
    never: int
    most: int
    apart: bool
    spans: Mapping[str, str]

    @property
    def numbers(self) -> int:
        """How many there are."""
        return self.last - self.first + 1


class Handed(NamedTuple):
    """Who was given which number. `apart`: each client counts for itself, so that only its own repeats count."""

    first: int
    last: int
    callers: Mapping[int, Sequence[Call]]
    apart: bool

    def kind(self, number: int) -> str:
        """Whether it was handed out once, more than once, or never."""
        return ("never", "once", "more")[min(2, self.times(number))]

    def times(self, number: int) -> int:
        """How often it was handed out, to one client where those count apart."""
        callers = self.callers.get(number, ())
        if self.apart:
            return max(Counter(call.client for call in callers).values(), default=0)
        return len(callers)


def grid(calls: Iterable[Call], document: Mapping[str, Any], *, apart: bool = False) -> Grid | None:
    """Return the grid of a row, or None where no number was handed out. `apart`: each client counts for itself."""
    handed = _handed(calls, document, apart)
    if handed is None:
        return None
    numbers = handed.last - handed.first + 1
    block = 1 if numbers <= SMALL else _round_up(-(-numbers // BLOCKS))
    size = "blocks" if block > 1 else "small" if numbers > LARGE else "large"
    kinds = Counter(handed.kind(number) for number in handed.callers)
    return Grid(
        handed.first,
        handed.last,
        size,
        block,
        list(_groups(handed, size, block)),
        kinds["once"],
        kinds["more"],
        numbers - len(handed.callers),
        max(map(handed.times, handed.callers)),
        apart,
        _spans(handed) if block == 1 else {"more": "", "never": ""},
    )


def _handed(calls: Iterable[Call], document: Mapping[str, Any], apart: bool) -> Handed | None:
    """Sort the answers by number; the grid begins after the start value and has room for every request."""
    callers: dict[int, list[Call]] = defaultdict(list)
    for call in calls:
        if call.op != "read" and call.outcome == "ok" and call.value is not None:
            callers[call.value].append(call)
    if not callers:
        return None
    start = _start(calls, document, min(callers))
    room = 0 if apart else sum(map(len, callers.values()))
    return Handed(start + 1, max(max(callers), start + room), callers, apart)


def _start(calls: Iterable[Call], document: Mapping[str, Any], low: int) -> int:
    """The value before the first call: our own counters begin at 0, others where the first answer lets them."""
    first = min(calls, key=lambda call: call.start)
    known = 0 if "mode" in document else first.value if first.op == "read" else low - 1
    return known if known is not None and known < low else low - 1


def _round_up(size: int) -> int:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    power: int = 10 ** (len(str(size)) - 1)
    return next(step * power for step in (1, 2, 5, 10) if step * power >= size)


def _groups(handed: Handed, size: str, block: int) -> Iterator[Group]:
    everything = range(handed.first, handed.last + 1)
    if size == "blocks":
        yield Group("", list(_blocks(handed, block)))
        return
    if size == "large":
        yield Group("", [_cell(handed, number) for number in everything])
        return
    hundreds = [everything[i : i + GROUP] for i in range(0, len(everything), GROUP)]
    for hollow, run in groupby(hundreds, handed.callers.keys().isdisjoint):
        some = list(run)
        if hollow:
            yield Group(f"{some[0][0]} to {some[-1][-1]}: never handed out", [])
            continue
        yield from (Group(f"{one[0]} to {one[-1]}", [_cell(handed, number) for number in one]) for one in some)


def _cell(handed: Handed, number: int) -> Cell:
    callers, kind = handed.callers.get(number, ()), handed.kind(number)
    chips = [Chip(owner, times) for owner, times in Counter(call.owner for call in callers).items() if owner]
    mark = f"\u00d7{handed.times(number)}" if kind == "more" else ""
    return Cell(str(number), kind, mark, f"{number}: {_who(callers)}", sorted(chips))


def _who(callers: Sequence[Call]) -> str:
    if not callers:
        return "never handed out"
    times = "once, to " if len(callers) == 1 else f"{len(callers)} times, to "
    rest = f" and {len(callers) - NAMED} more" if len(callers) > NAMED else ""
    return times + "; ".join(call.who for call in callers[:NAMED]) + rest


def _blocks(handed: Handed, block: int) -> Iterator[Cell]:
    """Blocks by their worst number: one handed out twice is worse than one never handed out."""
    kinds: dict[int, Counter[str]] = defaultdict(Counter)
    for number in handed.callers:
        kinds[(number - handed.first) // block][handed.kind(number)] += 1
    for i, low in enumerate(range(handed.first, handed.last + 1, block)):
        high = min(low + block - 1, handed.last)
        once, more = kinds[i]["once"], kinds[i]["more"]
        never = high - low + 1 - once - more
        told = f"{low} to {high}: {once} once, {more} more than once, {never} never"
        kind = "more" if more else "never" if never else "once"
        mark = f"\u00d7 {more}" if more else f"\u25cb {never}" if never else ""
        yield Cell(f"{low}\u2013{high}", kind, mark, told)


def _spans(handed: Handed) -> dict[str, str]:
    """For the ear and for copying: which numbers are of which kind, `3, 7 to 12`."""
    numbers = range(handed.first, handed.last + 1)
    runs = [(kind, list(run)) for kind, run in groupby(numbers, handed.kind)]
    return {kind: _joined([run for its, run in runs if its == kind]) for kind in ("more", "never")}


def _joined(runs: Sequence[Sequence[int]]) -> str:
    told = [str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in islice(runs, SPANS)]
    rest = sum(map(len, runs[SPANS:]))
    return ", ".join(told) + (f", and {rest} more" if rest else "")
