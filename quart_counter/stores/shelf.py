"""Live key records in memory: for stores that hold a counter whole while they work on it (manager, memcached, file)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from quart_counter.model import Reading, Record
from quart_counter.stores.ledger import Page, expiry_ms, generation_at, record_from_text, record_to_text


class Shelf:
    """The idempotency records of one counter, as text, by the moment in ms at which a whole generation of them ends.

    A record lives for one to two key lives (`ledger.expiry_ms`), and forgetting costs nothing.
    """

    def __init__(self, generations: Mapping[int, dict[str, str]] | None = None) -> None:
        self.generations = dict(generations or {})

    @property
    def live(self) -> int:
        """How many keys count towards the quota."""
        return sum(map(len, self.generations.values()))

    def forget_expired(self, now_ms: int) -> None:
        """Drop the generations whose time is over."""
        self.generations = {end: records for end, records in self.generations.items() if end > now_ms}

    def page(self, reading: Reading, keys: Iterable[str]) -> Page:
        """Return what a step has to know: the reading, how many keys are live, and the records of `keys`."""
        found = {key: text for key in keys for records in self.generations.values() if (text := records.get(key))}
        return Page(reading, self.live, {key: record_from_text(text) for key, text in found.items()})

    def keep(self, end_ms: int, records: Mapping[str, Record]) -> None:
        """Remember `records` until `end_ms`."""
        if records:
            self.generations.setdefault(end_ms, {}).update((key, record_to_text(one)) for key, one in records.items())


def end_of_life(now_ms: int, key_life_s: float) -> int:
    """Return when a key made now is forgotten."""
    return expiry_ms(generation_at(now_ms, key_life_s), key_life_s)


def wall_ms() -> int:
    """The time of day in milliseconds: for records that outlive a process, whose monotonic clock says nothing later."""
    return time.time_ns() // 1_000_000


def monotonic_ms() -> int:
    """Milliseconds of a clock that nobody sets, for what ends with the process or is set against another clock."""
    return time.monotonic_ns() // 1_000_000
