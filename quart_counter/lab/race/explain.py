"""Two collisions, recorded in this very run and told step by step: the question's own, and the lost update.

Two clients are enough. Their handlers say what they did and when; the words below only put the steps in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from quart_counter.lab import lanes
from quart_counter.lab.race import Entry, Row

ENTRIES: Final = (Entry("lock-late-answer", 1), Entry("unguarded", 1))
CLIENTS: Final = 2

_HEADLINES: Final = {
    "lock-late-answer": "The question's own story: both add, and only then both look",
    "unguarded": "The lost update: both read before either writes",
}
_MORALS: Final = {
    "lock-late-answer": (
        "The total is right and both answers are {answer}: number {skipped} was given to nobody and {answer} twice.\n"
        '(Whoever expects "2 and 3": two increments never make a 3.)\n'
        "The answer has to be born inside the step that adds; read later, it is somebody else's."
    ),
    "unguarded": (
        "Two requests were counted as one: the counter stands at {answer} after two increments.\n"
        "No thread is needed for that: one event loop and one await between reading and writing are enough."
    ),
}


class _Told(NamedTuple):
    at: int
    client: int
    what: str
    number: int


def explain(rows: Sequence[Row]) -> str:
    """Tell the recorded collision of each row, with the times and the lanes of its requests."""
    return "\n\n".join("\n".join(_story(row)) for row in rows)


def _story(row: Row) -> Iterator[str]:
    clients = _numbered(row)
    steps = sorted(
        _Told(step.at, clients[row.operations[i].process], step.what, step.number)
        for i, told in row.steps.items()
        for step in told
    )
    adds = [op._replace(process=clients[op.process]) for op in row.operations if op.op == "add"]
    numbers = [operation.value for operation in adds]
    yield f"{_HEADLINES[row.entry.mode]}  ({row.entry.mode}, recorded just now)"
    yield ""
    for step in steps:
        yield f"  {(step.at - steps[0].at) / 1e6:8.3f} ms  client {step.client} {step.what} {step.number}"
    yield ""
    yield lanes.draw(adds, "client")
    yield ""
    if len(set(numbers)) == len(numbers):
        yield "This time the two did not collide; run it again."
        return
    answer = numbers[0] or 0
    yield _MORALS[row.entry.mode].format(answer=answer, skipped=answer - 1)


def _numbered(row: Row) -> dict[int, int]:
    """Number the clients 1, 2, … in the order of their first steps."""
    first = {row.operations[i].process: min(step.at for step in told) for i, told in row.steps.items() if told}
    return {process: number for number, process in enumerate(sorted(first, key=first.__getitem__), 1)}
