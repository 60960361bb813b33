"""How many counters there may be: a new name takes a place, and when all are taken it is turned away. None is evicted.

The number of places taken is a counter of our own, `~names`, and so is that of each client who has a limit of its own.
A place is taken before the change that would begin the counter, by a bounded `take`, and given back when that change
did not begin it: so there are never more names than places, in any number of workers. Whoever is killed in between
leaves a place taken, which `recount` finds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple

from quart_counter.access.tokens import Credential
from quart_counter.counters import Counters
from quart_counter.counters.errands import Errands
from quart_counter.errors import StoreAway
from quart_counter.model import NAME, RESERVED, Applied, Change, NotApplied, Outcome, OutcomeUnknown, Refused

PLACES: Final = f"{RESERVED}names"
PAGE: Final = 1000
MOST_KNOWN: Final = 100_000  # beyond it a worker starts to learn them anew, which costs a reading each
FULL_S: Final = 1.0  # how long a worker takes the word of the store that all places are taken


class Full(NamedTuple):
    """All places are taken, so the counter was not begun; nothing was changed."""

    places: int


class Place(NamedTuple):
    """A counter of places, and how many there are."""

    name: str
    most: int


class Places:
    """Carries out changes, unless they would begin one counter too many.

    `most` 0 means no limit beyond those of single clients. Begin with `recount`; `keep_counting` then mends what is
    left behind by workers that were killed.
    """

    def __init__(self, counters: Counters, *, most: int, deadline_s: float) -> None:
        self._counters, self._most, self._deadline_s = counters, most, deadline_s
        # The method as it is now, before anybody counts what clients do: these are no clients' changes.
        self._book = counters.apply
        self._known: set[str] = set()  # names of counters that were begun; a recount finds their places
        self._full_until: dict[str, float] = {}
        self._beginning: dict[str, asyncio.Lock] = {}
        self._errands = Errands()

    async def apply(self, change: Change, credential: Credential | None) -> Outcome | Full:
        """Carry out a change, or say that there is no place for another counter."""
        places = self._bounds(credential)
        if change.name in self._known or not places:
            return await self._counters.apply(change)
        # Seen through though its client leaves: a place that was taken is given back, or its counter begun.
        return await self._errands.run(self._begin(change, places))

    def _bounds(self, credential: Credential | None) -> Sequence[Place]:
        """Its own first: whoever has used those up takes none of everybody's, not even for a moment."""
        places = []
        if credential is not None and credential.max_names is not None:
            places.append(Place(f"{PLACES}.{credential.id}", credential.max_names))
        if self._most:
            places.append(Place(PLACES, self._most))
        return places

    async def _begin(self, change: Change, places: Sequence[Place]) -> Outcome | Full:
        async with self._one_at_a_time(change.name):
            try:
                is_new = change.name not in self._known and not (await self._counters.look(change.name)).version
            except StoreAway as away:
                return NotApplied(str(away))
            if is_new:
                return await self._take_a_place(change, places)
        self._remember(change.name)
        return await self._counters.apply(change)

    async def _take_a_place(self, change: Change, places: Sequence[Place]) -> Outcome | Full:
        taken: list[Place] = []
        for place in places:
            answer = await self._take(place)
            if answer is not None:
                await self._give_back(taken)
                return answer
            taken.append(place)
        outcome = await self._counters.apply(change)
        if isinstance(outcome, Applied):
            self._remember(change.name)
        if not _may_have_begun(outcome):
            await self._give_back(taken)
        return outcome

    async def _take(self, place: Place) -> Full | NotApplied | None:
        """Take a place, or say why not."""
        now = asyncio.get_running_loop().time()
        if now < self._full_until.get(place.name, 0.0):
            return Full(place.most)
        match await self._book(Change(place.name, by=1, limit=place.most)):
            case Applied():
                return None
            case Refused():
                self._full_until[place.name] = now + FULL_S
                return Full(place.most)
        return NotApplied("the store did not say whether there is a place for another counter")

    async def _give_back(self, places: Sequence[Place]) -> None:
        for place in places:
            await self._book(Change(place.name, by=-1, floor=0))

    def _remember(self, name: str) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known.add(name)

    @asynccontextmanager
    async def _one_at_a_time(self, name: str) -> AsyncIterator[None]:
        """A hundred requests at once that begin one counter need one place, not a hundred."""
        lock = self._beginning.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._beginning.get(name) is lock:
                del self._beginning[name]

    async def recount(self, pause_s: float = 0.0) -> None:
        """Set the number of places taken to the number of names there are, unless that changed meanwhile.

        With a pause longer than a change can be under way, everything begun before is in the names by the time they are
        counted, so the number can be lowered; without, it is only raised.
        """
        before = await self._counters.look(PLACES)
        await asyncio.sleep(pause_s)
        there, after, more = 0, "", True
        while more:
            names = [name for name in await self._counters.names(after, PAGE) if NAME.fullmatch(name)]
            there += len(names)
            more = len(names) == PAGE  # our own counters come after all of these
            after = names[-1] if names else after
        if there > before.value or (pause_s and there < before.value):
            await self._book(Change(PLACES, value=there, if_version=before.version))

    async def keep_counting(self, every_s: float) -> None:
        """Recount now and then, until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            with suppress(StoreAway):
                await self.recount(pause_s=2 * self._deadline_s)


def _may_have_begun(outcome: Outcome) -> bool:
    """Whether the place stays taken."""
    if isinstance(outcome, Applied):
        return outcome.version == 1 and not outcome.replayed
    return isinstance(outcome, OutcomeUnknown)
