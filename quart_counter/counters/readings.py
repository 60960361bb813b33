"""Lets concurrent readers share one trip, as those who count do.

readings = Readings(store, deadline_s=5.0)
value, version = await readings.read("tickets")

Readers that wait while a trip is under way form the next one, whatever they read; its reading begins after each of them
asked, so it sees all that was answered before. A reader that leaves cancels nothing: a driver that is cancelled in the
middle of a statement throws its connection away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from quart_counter.counters.combiner import Combiner, Lanes
from quart_counter.errors import StoreAway
from quart_counter.model import Reading
from quart_counter.stores.base import AT_ONCE, HasLanes, Store, read_many

Told: TypeAlias = Reading | StoreAway

MAX_BATCH: Final = 4096  # they are only names


class Readings:
    """One trip for readings at a time; nobody hangs, and each reader has an error of its own."""

    def __init__(self, store: Store, deadline_s: float) -> None:
        self._combiner = _combined(store, deadline_s)

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment. Raises StoreAway."""
        reading = await self._combiner.submit(name)
        if isinstance(reading, StoreAway):
            raise reading
        return reading

    async def drain(self) -> None:
        """Wait until everybody who asked so far is answered."""
        await self._combiner.aclose()


def _combined(store: Store, deadline_s: float) -> Combiner[str, Told] | Lanes[str, Told]:
    def combiner() -> Combiner[str, Told]:
        return Combiner(
            partial(_read, store), expired=_expired, failed=_failed, deadline_s=deadline_s, max_batch=MAX_BATCH
        )

    return Lanes([combiner() for _ in range(store.lanes)], store.lane_of) if isinstance(store, HasLanes) else combiner()


async def _read(store: Store, asked: Sequence[str]) -> Sequence[Reading | StoreAway]:
    names = list(dict.fromkeys(asked))
    if len(names) == 1:
        told = await _each(store, names)
    else:
        try:
            told = dict(zip(names, await read_many(store, names), strict=True))
        except StoreAway:  # perhaps because of one of them, which is no affair of the others
            told = await _each(store, names)
    return [_own(told[name]) for name in asked]


async def _each(store: Store, names: Sequence[str]) -> Mapping[str, Reading | StoreAway]:
    """Read some at a time; once none of these can be read, the rest need not be tried."""
    told: dict[str, Reading | StoreAway] = {}
    for start in range(0, len(names), AT_ONCE):
        some = names[start : start + AT_ONCE]
        answers = await asyncio.gather(*(_one(store, name) for name in some))
        told.update(zip(some, answers, strict=True))
        if isinstance(answers[-1], StoreAway) and all(isinstance(answer, StoreAway) for answer in answers):
            return {**dict.fromkeys(names, answers[-1]), **told}
    return told


async def _one(store: Store, name: str) -> Reading | StoreAway:
    try:
        return await store.read(name)
    except StoreAway as away:
        return away


def _own(told: Reading | StoreAway) -> Reading | StoreAway:
    if not isinstance(told, StoreAway):
        return told
    own = StoreAway(str(told))
    own.__cause__ = told
    return own


def _expired(name: str) -> Reading | StoreAway:
    return StoreAway("the store was busy or away until the deadline")


def _failed(name: str, error: BaseException) -> Reading | StoreAway:
    return StoreAway(f"the store failed in the middle of a read ({type(error).__name__})")
