"""A flush on its way through memcached: the items it reads and writes, and which of its changes have an answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from quart_counter.model import Change, NotApplied, Outcome, OutcomeUnknown, Reading
from quart_counter.stores.base import StoreAway
from quart_counter.stores.ledger import wanted
from quart_counter.stores.shelf import Shelf

ITEM: Final = "qc:c:"
FULL: Final = (b"SERVER_ERROR out of memory", b"SERVER_ERROR object too large")  # nothing was stored


class Item(NamedTuple):
    """A counter as it lies in memcached, and how many bytes that takes."""

    reading: Reading
    shelf: Shelf
    flushes: Mapping[str, Sequence[Any]]
    size: int


def item_of(name: str, data: bytes | None) -> Item:
    """Read what lies under a counter's name. Raises StoreAway for what is not ours."""
    if data is None:
        return Item(Reading(), Shelf(), {}, 0)
    try:
        head, _, tail = data.partition(b"\n")
        value, version = head.split()
        words = json.loads(tail)
        shelf = Shelf({int(end): records for end, records in words["keys"].items()})
        return Item(Reading(int(value), int(version)), shelf, words["flushes"], len(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreAway(f"memcached holds something else under {ITEM}{name}: delete it there") from error


def item_text(reading: Reading, shelf: Shelf, flushes: Mapping[str, Any]) -> bytes:
    """Write it down."""
    words = {"keys": shelf.generations, "flushes": flushes}
    return f"{reading.value} {reading.version}\n{json.dumps(words, separators=(',', ':'))}".encode()


class Attempt(NamedTuple):
    """A step computed for one counter: its answers, and the item to store first; None when nothing changes."""

    outcomes: Sequence[Outcome]
    data: bytes | None = None
    is_new: bool = False


class Flush:
    """One flush on its way: what waits for an answer yet, and which counters it may have changed already."""

    def __init__(self, changes: Sequence[Change], number: int) -> None:
        self.changes, self.number = changes, number
        self.trouble = "memcached was busy until the deadline"
        self.in_doubt: set[str] = set()
        self._outcomes: list[Outcome | None] = [None] * len(changes)
        self._places: dict[str, list[int]] = {}
        for place, change in enumerate(changes):
            self._places.setdefault(change.name, []).append(place)
        self.waiting = wanted(changes)

    def of(self, name: str) -> list[Change]:
        """Return the changes to one counter."""
        return [self.changes[place] for place in self._places[name]]

    def answer(self, name: str, outcomes: Sequence[Outcome]) -> None:
        """Settle the changes to one counter."""
        del self.waiting[name]
        for place, outcome in zip(self._places[name], outcomes, strict=True):
            self._outcomes[place] = outcome

    def heard(self, name: str, attempt: Attempt, line: bytes) -> None:
        """Settle a counter by memcached's word on its `cas`, unless the race was lost: that one is run again."""
        if line == b"STORED":
            self.answer(name, attempt.outcomes)
        elif line.startswith(FULL) and name not in self.in_doubt:
            self.answer(name, [NotApplied(f"memcached refuses {name} ({line.decode()})")] * len(attempt.outcomes))
        elif line not in (b"EXISTS", b"NOT_FOUND", b"NOT_STORED"):  # a proxy's timeout, for one
            self.in_doubt.add(name)
            self.trouble = f"memcached answered {line.decode(errors='replace'):.100}"

    def outcomes(self) -> list[Outcome]:
        """Return all answers; what waits still was not applied, or nobody knows."""
        for name in list(self.waiting):
            made = OutcomeUnknown if name in self.in_doubt else NotApplied
            self.answer(name, [made(self.trouble)] * len(self._places[name]))
        return [outcome for outcome in self._outcomes if outcome is not None]
