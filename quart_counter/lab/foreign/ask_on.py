"""More requests after a race that went wrong, for as long as they may tell why.

A connection that is kept stays with one process. So where two series of numbers have not met yet, those clients ask on
that are answered out of the slower one: every request of theirs brings it nearer to where the other began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from typing import Final

from quart_counter.lab.diagnosis import Diagnosis
from quart_counter.lab.foreign.client import Client
from quart_counter.lab.foreign.volley import Volley, again, fire

MOST: Final = 3000  # further requests
LONGEST_S: Final = 5.0
AT_A_TIME: Final = 10  # before it is looked at again
STICKY: Final = 0.8  # of the clients are answered by the process that answered them before


async def ask_on(volley: Volley, crowd: Sequence[Client], told: Callable[[], Diagnosis | None]) -> None:
    """Send more requests until what is told needs no more, or would need too many."""
    before, until = len(volley.operations), time.monotonic() + LONGEST_S

    def may_go_on() -> bool:
        volley.asked_on = len(volley.operations) - before
        return time.monotonic() < until and volley.asked_on + len(crowd) <= MOST

    while may_go_on():
        looks = told()
        if looks is None or not looks.more or looks.more > MOST - volley.asked_on:
            return
        if looks.kind != "processes_or_blocks":
            await fire(volley, crowd, len(crowd))
        else:
            await _bring_to_meet(volley, crowd, may_go_on)


async def _bring_to_meet(volley: Volley, crowd: Sequence[Client], may_go_on: Callable[[], bool]) -> None:
    """A few rounds of those who are answered out of the slower series, or of all while nobody knows who is."""
    everyone: Collection[int] = range(len(crowd))
    chasing = everyone
    for _ in range(AT_A_TIME):
        await again(volley, crowd, chasing)
        behind = _behind(volley, chasing)
        lost_track = len(chasing) < len(crowd) and len(behind) < STICKY * len(chasing)
        chasing = everyone if lost_track or not behind else behind
        if _met(volley) or not may_go_on():
            return


def _met(volley: Volley) -> bool:
    numbers = [op.value for op in volley.operations if op.op == "add" and op.value is not None]
    return len(set(numbers)) < len(numbers)


def _behind(volley: Volley, clients: Collection[int]) -> Collection[int]:
    """Those of the clients whose last answer is of the slower of the nearest two series."""
    slower = _slower({op.value for op in volley.operations if op.op == "add" and op.value is not None})
    latest = {op.process: op.value for op in volley.operations[-len(clients) :]}
    return [client for client in clients if latest.get(client) in slower]


def _slower(numbers: Collection[int]) -> Collection[int]:
    """The numbers without a hole below the smallest hole; all of them where there is no hole."""
    line = sorted(numbers)
    holes = [(after - before, i) for i, (before, after) in enumerate(pairwise(line), 1) if after > before + 1]
    if not holes:
        return numbers
    _, end = min(holes)
    begin = max((i for _, i in holes if i < end), default=0)
    return set(line[begin:end])
