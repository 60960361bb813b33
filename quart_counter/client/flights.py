"""What is under way: a `Flight` is one request until its answer, a `Claim` is one caller's part in it.

Waiting increments of one name travel as one keyed request `{"by": k}`; from its answer v, caller j of k gets the number
v - k + 1 + j. What makes that safe when answers get lost: a request whose outcome may still turn out to be "applied"
keeps its key and its k for ever, and everybody in it who cannot be answered is told "unknown", with a claim on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from quart_counter import errors
from quart_counter.client.wire import Call, Try, call_for, reason_of, trouble_with_key
from quart_counter.counters import explain
from quart_counter.keys import new_key, share_of
from quart_counter.model import Applied, Change, NotApplied, Outcome, OutcomeUnknown, Reading, Refused

Number: TypeAlias = int | Refused | NotApplied | OutcomeUnknown  # what an increment gets, or why it gets none


class Forgotten(OutcomeUnknown):
    """It may have happened, and its key is too old to find out."""

    __slots__ = ()


class Forbidden(NotApplied):
    """It did not happen, and will not for whoever sends it again."""

    __slots__ = ()


class Claim(NamedTuple):
    """A caller's part in a request: number `place` of those it adds, or all of it where that is None.

    `number` says that the caller asked for the value alone (`increment`), not for value and version.
    """

    change: Change
    place: int | None = None
    number: bool = False

    @property
    def is_share(self) -> bool:
        """Say whether others have a part in it too."""
        return self.place is not None and self.change.by > 1

    def alone(self) -> Claim:
        """Return this caller's own part as a request of its own, under the same key however often it is asked for."""
        return Claim(Change(self.change.name, key=share_of(self.change.key or "", self.place)), number=True)


class Unresolved(errors.OutcomeUnknown):
    """What the client raises for an unknown outcome: `await client.resolve(unknown)` finds out, and counts once.

    `name`, `by` and `key` are those of the request that was sent. Where increments shared one, that is the shared one,
    and `claim` knows this caller's place in it.
    """

    def __init__(self, sentence: str, claim: Claim) -> None:
        change = claim.change
        super().__init__(sentence, name=change.name, by=change.by if change.value is None else None, key=change.key)
        self.claim = claim


class Flight:
    """One request until its answer, sent again and again until `due` (in the loop's time)."""

    def __init__(self, call: Call, due: float) -> None:
        self.call, self.due = call, due
        self.under_way = False  # a try of it is out
        self.in_doubt = False  # it may have been applied, or somebody was told so

    def goes_on(self) -> bool:
        """Say, right before a try, whether anybody still wants it."""
        return True


class Delivery(Flight):
    """A flight that carries a change."""

    def __init__(self, change: Change, due: float) -> None:
        super().__init__(call_for(change), due)
        self.change = change

    def outcome(self, tried: Try) -> Outcome:
        """Say what became of the change, from the last try."""
        document = tried.document
        if tried.standing == "answered":
            return Applied(document["value"], document["version"])
        reason = reason_of(document)
        if tried.standing == "refused" and reason:
            return Refused(reason, document["value"], document["version"])
        if self.in_doubt and trouble_with_key(document) == "expired":
            return Forgotten(tried.because)
        if tried.standing == "forbidden" and not self.in_doubt:
            return Forbidden(tried.because)
        # "declined" too: the answer 404 to the second try says nothing about the first
        return OutcomeUnknown(tried.because) if self.in_doubt else NotApplied(tried.because)


class Ask:
    """One caller's increment by 1, from the moment it waits until its `future` has an outcome."""

    __slots__ = ("due", "flight", "future", "place")

    def __init__(self, due: float) -> None:
        self.due = due
        self.future: asyncio.Future[Number]
        self.flight: Delivery | None = None
        self.place: int | None = None

    def give_up(self) -> None:
        """Answer the caller at its deadline. Its request goes on for the others in it."""
        if self.future.done():
            return
        flight = self.flight
        if flight is None or not (flight.in_doubt or flight.under_way):  # the next try leaves this caller out
            self.future.set_result(NotApplied("the service was busy or away until the deadline"))
            return
        flight.in_doubt = True
        self.future.set_result(OutcomeUnknown("the service did not answer before the deadline"))

    def claim(self, name: str) -> Claim:
        """Return this caller's part in the request that it is in."""
        return Claim(self.flight.change if self.flight else Change(name), self.place, number=True)


class Folded(Delivery):
    """The increments of several callers as one request. While nothing of it can have been applied, callers may leave
    it; from then on its key and its sum stay."""

    def __init__(self, name: str, asks: Sequence[Ask]) -> None:
        super().__init__(_sum(name, asks), asks[-1].due)
        self._seat(asks)

    def goes_on(self) -> bool:
        """Leave out who has left, unless it is too late; without them it is another request, under another key."""
        if self.in_doubt:
            return True
        staying = [ask for ask in self.asks if not ask.future.done()]
        if staying and len(staying) < len(self.asks):
            self.change, self.due = _sum(self.change.name, staying), staying[-1].due
            self.call = call_for(self.change)
            self._seat(staying)
        return bool(staying)

    def numbers(self, asks: Sequence[Ask], outcome: Outcome) -> Sequence[Number]:
        """Return what the outcome means to each of the `asks` that it once had: from value v, k numbers up to v."""
        if not isinstance(outcome, Applied):
            return [outcome] * len(asks)
        first = outcome.value - self.change.by + 1
        return [first + (ask.place or 0) for ask in asks]

    def _seat(self, asks: Sequence[Ask]) -> None:
        self.asks = asks
        for place, ask in enumerate(asks):
            ask.flight, ask.place = self, place


def _sum(name: str, asks: Sequence[Ask]) -> Change:
    return Change(name, by=len(asks), key=new_key())


def reading(claim: Claim, outcome: Outcome) -> Reading:
    """Turn a request's outcome into what one caller in it gets: a return value or an exception, as in `Counters`."""
    change = claim.change
    match outcome:
        case Applied(value, version):
            others_after = 0 if claim.place is None else change.by - 1 - claim.place
            return Reading(value - others_after, version)
        case Refused(reason, value, version):
            raise errors.CounterRefused(
                explain(change, outcome), name=change.name, reason=reason, value=value, version=version
            )
        case Forbidden(because):
            raise errors.Forbidden(f"{because}. Nothing was changed, and sending it again changes nothing either.")
        case NotApplied():
            raise errors.NotApplied(explain(change, outcome))
        case Forgotten(because):
            raise Unresolved(
                f"{because}. The change may have been applied, and its key cannot find out any more: `resolve` would "
                "get this answer again.",
                claim,
            )
        case OutcomeUnknown(because):
            raise Unresolved(
                f"{because}. The change may have been applied; `await client.resolve(unknown)` sends it again under "
                "its key until it is answered, and it counts once.",
                claim,
            )
