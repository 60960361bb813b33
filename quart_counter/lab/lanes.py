"""Operations drawn as lanes, one a process, time from left to right, in plain ASCII of at most 100 columns.

    process 1  |----- add 1 -> 2 -----|
    process 2        |--- add 1 -> 2 ---|
    process 7     |--- add 1 -> ? - - - - -
               0        40 us  95 us

A bar is the closed interval from call to return. What nobody answered is drawn open-ended. Distances follow the clock
as far as there is room, but two instants never share a column, so what came first is always to be seen.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from quart_counter.lab.history import Operation

WIDTH = 100
NEAREST = 2  # columns between two instants, at the least


class Bar(NamedTuple):
    """One operation's drawing: `text` begins at column `left`."""

    left: int
    text: str


def draw(operations: Sequence[Operation], who: str = "process") -> str:
    """The operations as lanes, and under them the times since the first call. No operation, no lanes.

    `who` calls: a history's word is `process`, which is no operating system's; where that could be mistaken, `client`.
    """
    if not operations:
        return ""
    names = {operation: f"{who} {operation.process}"[:24] for operation in operations}
    margin = max(map(len, names.values())) + 2
    columns = _columns(operations, WIDTH - margin)
    rows = []
    for name in dict.fromkeys(
        names[operation] for operation in sorted(operations, key=lambda operation: operation.call)
    ):
        bars = [_bar(operation, columns, WIDTH - margin) for operation in operations if names[operation] == name]
        rows += [f"{name:{margin}}{row}" for row in _pack(bars)]
    rows.append(" " * margin + _axis(columns, WIDTH - margin))
    return "\n".join(row.rstrip() for row in rows)


def label(operation: Operation) -> str:
    """What was asked and answered, as short as it can be read: `take 2 within 10 -> 9`."""
    asked = operation.op if operation.op == "read" else f"{operation.op} {_amount(operation)}"
    if operation.limit is not None:
        asked += f" within {operation.limit}"
    if operation.outcome == "fail":
        return f"{asked}: refused" if operation.refused else f"{asked}: failed"
    answer = "?" if operation.outcome == "info" else f"{operation.value}"
    version = "" if operation.version is None else f" (version {operation.version})"
    return f"{asked} -> {answer}{version}"


def elapsed(nanoseconds: int) -> str:
    """A time a person can compare: `0`, `40 us`, `1.25 ms`, `3 s`."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.4g} {unit}"
    return f"{nanoseconds} ns" if nanoseconds else "0"


def _amount(operation: Operation) -> int | None:
    return operation.value if operation.op == "set" else operation.by


def _end(operation: Operation) -> int | None:
    return None if operation.outcome == "info" else operation.ret


def _columns(operations: Iterable[Operation], width: int) -> dict[int, int]:
    """The column of each instant: some room for every step, and the rest of the width shared out by the clock."""
    instants = sorted({moment for op in operations for moment in (op.call, _end(op)) if moment is not None})
    near = min(NEAREST, max(1, (width - 1) // len(instants)))
    spare = max(0, width - 1 - near * len(instants))
    whole = max(1, instants[-1] - instants[0])
    columns = {instants[0]: 0}
    for before, moment in pairwise(instants):
        columns[moment] = columns[before] + near + spare * (moment - before) // whole
    return columns


def _bar(operation: Operation, columns: dict[int, int], width: int) -> Bar:
    """The interval with its label inside if it fits there, else behind it, else before it."""
    left, text, end = columns[operation.call], f" {label(operation)} ", _end(operation)
    if end is None:
        return _open_bar(left, text, width)
    length = columns[end] - left + 1
    if length >= len(text) + 4:
        return Bar(left, f"|{text:-^{length - 2}}|")
    bar = "|" if length == 1 else f"|{'-' * (length - 2)}|"
    if left + length + len(text) <= width + 1:
        return Bar(left, bar + text.rstrip())
    text = text[: max(0, left)]
    return Bar(left - len(text), text + bar)


def _open_bar(left: int, text: str, width: int) -> Bar:
    room = width - left
    if room < len(text) + 6:
        text = text[: max(0, left)]
        return Bar(left - len(text), text + "|" + ("- " * width)[: room - 1])
    return Bar(left, (f"|---{text}" + "- " * width)[:room])


def _pack(bars: Sequence[Bar]) -> list[str]:
    """The bars in as few rows as they fit in without touching."""
    rows: list[str] = []
    for bar in sorted(bars):
        place = next((i for i, row in enumerate(rows) if len(row) < bar.left), len(rows))
        if place == len(rows):
            rows.append("")
        rows[place] = rows[place].ljust(bar.left) + bar.text
    return rows


def _axis(columns: dict[int, int], width: int) -> str:
    """The times that have room, the first and the last before the others."""
    first, *between = columns
    axis = [" "] * width
    for moment in dict.fromkeys([first, *between[-1:], *between]):
        text = elapsed(moment - first)
        left = min(columns[moment], width - len(text))
        if all(mark == " " for mark in axis[max(0, left - 2) : left + len(text) + 2]):
            axis[left : left + len(text)] = text
    return "".join(axis)
