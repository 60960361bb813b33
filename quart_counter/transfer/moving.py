"""Reads all counters of a store, page by page, and makes counters in one, flush by flush. Neither holds them all.

What holds when others count meanwhile: every counter is read in one moment and made in one step, so none is torn and no
increment is lost to an import. Moments differ from counter to counter, and one that is made where was read already is
not seen.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from quart_counter.errors import StoreAway
from quart_counter.model import NAME, Applied, Change, NotApplied, Outcome, OutcomeUnknown, Refused
from quart_counter.stores.base import Limits, Store, answered, read_many
from quart_counter.transfer.rows import Row, restore

PAGE: Final = 1000
FLUSH: Final = 512


async def pages(store: Store, limits: Limits, after: str = "") -> AsyncIterator[Sequence[Row]]:
    """Yield the counters whose names follow `after`, in the order of their names. Raises StoreAway.

    Clients' own numbers (`/session`) are not among them: they end with their sessions.
    """
    while names := await answered(partial(store.names, after, PAGE), limits):
        readings = await answered(partial(read_many, store, names), limits)
        rows = [Row(name, *reading) for name, reading in zip(names, readings, strict=True)]
        yield [row for row in rows if row.version and NAME.fullmatch(row.name)]
        after = names[-1]


class Kept(NamedTuple):
    """A counter that is there already with another value, and was left as it is."""

    row: Row
    value: int
    version: int


class Restoring:
    """Makes counters in a store and counts what became of them. Doing it again changes nothing."""

    def __init__(self, store: Store, *, replace: bool, told: int) -> None:
        self._store, self._replace, self._told = store, replace, told
        self.made = self.replaced = self.there_already = self.kept = 0
        self.examples: list[Kept] = []  # of the counters kept: the first `told`

    @property
    def settled(self) -> int:
        """How many rows were dealt with."""
        return self.made + self.replaced + self.there_already + self.kept

    async def flush(self, rows: Sequence[Row]) -> None:
        """Make these counters, at most FLUSH of them. One that exists is left alone, or replaced as it was seen to be.

        Raises StoreAway when the store does not get on; what was done by then is done.
        """
        waiting = [restore(row) for row in rows]
        while waiting:
            outcomes = await self._store.apply(waiting)
            again = [change for pair in zip(waiting, outcomes, strict=True) for change in self._settle(*pair)]
            if len(again) == len(waiting):
                _raise_if_away(outcomes)
            waiting = again

    def _settle(self, change: Change, outcome: Outcome) -> Sequence[Change]:
        """Count what became of a change; return what has to be sent again."""
        match outcome:
            case Applied():
                self.made += change.if_version == 0
                self.replaced += change.if_version != 0
            case Refused(_, value, version) if value == change.value and version >= (change.version or 0):
                self.there_already += 1
            case Refused(_, value, version) if self._replace:
                return [change._replace(if_version=version)]
            case Refused(_, value, version):
                self._keep(change, value, version)
            case _:  # sent again a restore is refused or the same, so it does not matter whether it was applied
                return [change]
        return []

    def _keep(self, change: Change, value: int, version: int) -> None:
        self.kept += 1
        if len(self.examples) < self._told:
            self.examples.append(Kept(Row(change.name, change.value or 0, change.version or 0), value, version))


def _raise_if_away(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, NotApplied | OutcomeUnknown):
            raise StoreAway(outcome.because)
