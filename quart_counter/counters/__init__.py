"""Counters: what an app counts with. A store, and a combiner in front of it where a trip to the store costs something.

counters = Counters(store, deadline_s=5.0, combine=True)
number = await counters.increment("tickets")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from quart_counter import errors, keys
from quart_counter.counters.combiner import Combiner, Lanes, Statistics
from quart_counter.counters.errands import Errands
from quart_counter.counters.readings import Readings
from quart_counter.model import (
    Applied,
    Change,
    NotApplied,
    Outcome,
    OutcomeUnknown,
    Reading,
    Refused,
    check_change,
    check_name,
)
from quart_counter.stores.base import Guarantees, HasLanes, Limits, Store, read_many

Returned = TypeVar("Returned")

NO_KEYS = (
    "this store does not keep keys for certain, so a repeat might count again: send the change without a key, or use a "
    "store that is exactly_once (/readyz says so). Nothing was changed"
)


class Counters:
    """Every call is atomic and answers from inside the step that had the effect, so no two callers get one number.

    All calls raise `InvalidChange` for impossible arguments, `InvalidKey` for a key that could not make a change count
    once, `CounterRefused` when a rule says no, `NotApplied` when it did not happen, and `OutcomeUnknown` when it may
    have; see `quart_counter.errors`.

    A key counts once for `key_life_s`, by the clock `now_s`. For the store to keep its record long enough, see `keys`.
    """

    def __init__(
        self,
        store: Store,
        *,
        deadline_s: float,
        combine: bool,
        key_life_s: float = Limits.key_life_s,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._now_s, self._errands = now_s, Errands()
        self._use(store, deadline_s, combine, key_life_s)

    def _use(self, store: Store, deadline_s: float, combine: bool, key_life_s: float) -> None:
        self._store, self._key_life_s = store, key_life_s
        self._combiner = _combined(store, deadline_s) if combine else None
        self._readings = Readings(store, deadline_s) if combine else None

    @property
    def guarantees(self) -> Guarantees:
        """What the store promises."""
        return self._store.guarantees

    async def increment(self, name: str, by: int = 1, *, key: str | None = None) -> int:
        """Add `by` (negative counts down) and return the new value: yours alone while everybody adds."""
        change = Change(name, by, None, key)
        outcome = await self.apply(self.check(change))
        return outcome.value if type(outcome) is Applied else _reading(change, outcome).value

    async def add(self, name: str, by: int = 1, *, key: str | None = None) -> Reading:
        """Add `by` and return the new value and version."""
        return await self._change(Change(name, by, None, key))

    async def take(
        self, name: str, by: int = 1, *, limit: int | None = None, floor: int | None = None, key: str | None = None
    ) -> Reading:
        """Add `by` unless that would pass `limit` (counting up) or `floor` (counting down): sell 100, never 101."""
        if (limit is None) == (floor is None):
            raise errors.InvalidChange("take needs a limit (with a positive by) or a floor (with a negative by)")
        return await self._change(Change(name, by, key=key, limit=limit, floor=floor))

    async def set(self, name: str, value: int, *, if_version: int | None = None, key: str | None = None) -> Reading:
        """Set to `value`; with `if_version`, only if nothing has changed since that version was read."""
        return await self._change(Change(name, value=value, if_version=if_version, key=key))

    async def reset(self, name: str, *, key: str | None = None) -> Reading:
        """Set to 0. The version goes on, so a reset can be told from a counter never touched."""
        return await self._change(Change(name, value=0, key=key))

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment; sees every change answered before the call."""
        check_name(name)
        return await self.look(name)

    async def look(self, name: str) -> Reading:
        """Read a counter whose name was checked already, or is one of our own."""
        return await (self._store if self._readings is None else self._readings).read(name)

    async def look_at(self, names: Sequence[str]) -> Sequence[Reading]:
        """Read many counters, in one trip where the store can; a reading is of one moment, not all of the same."""
        return await self._see_through(read_many(self._store, names))

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` counter names greater than `after`, in order."""
        return await self._see_through(self._store.names(after, limit))

    async def forget(self, name: str) -> None:
        """Remove a counter that nobody will ask for again: a client's own number whose time is over."""
        await self._see_through(self._store.forget(name))

    async def _see_through(self, work: Coroutine[Any, Any, Returned]) -> Returned:
        """A caller that leaves takes no connection of the store with it; where there is no trip there is none."""
        if self._readings is None:
            return await work
        return await self._errands.run(work)

    def check(self, change: Change) -> Change:
        """Return `change` if it is possible at all, here and now, else raise `InvalidChange` or `InvalidKey`."""
        check_change(change)
        if change.key is None:
            return change
        if not self.guarantees.exactly_once:
            raise errors.InvalidKey(NO_KEYS, reason="unsupported")
        keys.check_age(change.key, self._key_life_s, self._now_s())
        return change

    async def apply(self, change: Change) -> Outcome:
        """Carry out a change that was checked already and return its outcome; for callers who speak another language
        than exceptions."""
        if self._combiner is None:
            return (await self._store.apply([change]))[0]
        return await self._combiner.submit(change)

    async def drain(self) -> None:
        """Wait until every change given so far is answered, also those whose caller went away."""
        if self._combiner is not None:
            await self._combiner.aclose()
        if self._readings is not None:
            await self._readings.drain()
        await self._errands.drain()

    def statistics(self) -> Statistics:
        """Return how many changes wait, how many flushes were sent, how many changes they carried."""
        return self._combiner.statistics() if self._combiner is not None else Statistics(0, 0, 0)

    async def _change(self, change: Change) -> Reading:
        return _reading(change, await self.apply(self.check(change)))


def _reading(change: Change, outcome: Outcome) -> Reading:
    match outcome:
        case Applied(value, version):
            return Reading(value, version)
        case Refused(reason, value, version):
            raise errors.CounterRefused(
                explain(change, outcome), name=change.name, reason=reason, value=value, version=version
            )
        case NotApplied():
            raise errors.NotApplied(explain(change, outcome))
        case OutcomeUnknown():
            by = change.by if change.value is None else None
            raise errors.OutcomeUnknown(explain(change, outcome), name=change.name, by=by, key=change.key)


def explain(change: Change, outcome: Refused | NotApplied | OutcomeUnknown) -> str:
    """Say in a sentence what became of `change` and what to do about it; the same words for library and HTTP."""
    match outcome:
        case Refused("bound", value, _):
            edge = f"the limit {change.limit}" if change.limit is not None else f"the floor {change.floor}"
            return f"{change.name} is at {value}: {change.by:+d} would pass {edge}. Nothing was changed."
        case Refused("cap", value, _):
            return f"{change.name} is at {value}: the change would leave ±(2^53 - 1). Nothing was changed."
        case Refused("version", _, version):
            return (
                f"{change.name} is at version {version}, not {change.if_version}: somebody changed it. Read it again, "
                "then decide. Nothing was changed."
            )
        case Refused():
            return (
                f"The key {change.key!r} was used for another request on {change.name}. Use a new key for a new "
                "request. Nothing was changed."
            )
        case NotApplied(because):
            return f"{because}. The change was not applied; sending it again is safe."
        case OutcomeUnknown(because):
            remedy = (
                "sent without Idempotency-Key: the outcome cannot be found out"
                if change.key is None
                else "send it again with the same key to find out; it counts once"
            )
            return f"{because}. The change may have been applied; {remedy}."


def _combined(store: Store, deadline_s: float) -> Combiner[Change, Outcome] | Lanes[Change, Outcome]:
    def combiner() -> Combiner[Change, Outcome]:
        return Combiner(store.apply, expired=_expired, failed=_failed, deadline_s=deadline_s)

    if not isinstance(store, HasLanes):
        return combiner()
    return Lanes([combiner() for _ in range(store.lanes)], lambda change: store.lane_of(change.name))


def _expired(change: Change) -> Outcome:
    return NotApplied("the store was busy or away until the deadline")


def _failed(change: Change, error: BaseException) -> Outcome:
    return OutcomeUnknown(f"the store failed in the middle of it ({type(error).__name__})")
