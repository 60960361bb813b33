"""What every store that *runs* the model inside its atomic step shares: what to load, what to write, and its text form.

    pages = load(wanted(changes))                       # the store's own words: SQL, files, memcached
    outcomes, entries = post(changes, pages, max_keys)  # the model, one change after another
    write(entries)                                      # only what changed

Pure, like the model: no clock, no lock, no I/O. The store makes load, post and write one atomic step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from quart_counter.model import MAX_KEYS, Applied, Change, Outcome, Reading, Record, Refused, State, apply

_NO_RECORDS: Mapping[str, Record] = MappingProxyType({})


class Page(NamedTuple):
    """What a step loaded of one counter: its reading, its number of live keys, and the records of the keys asked for.

    `records` may hold more keys than were asked for; a key that is missing there was never used, or is forgotten.
    """

    reading: Reading = Reading()
    keys: int = 0
    records: Mapping[str, Record] = _NO_RECORDS


class Entry(NamedTuple):
    """What a step has to write for one counter: its reading after it, whether that changed, the new records by key."""

    reading: Reading
    changed: bool
    records: Mapping[str, Record]


def wanted(changes: Iterable[Change]) -> dict[str, list[str]]:
    """Return what to load: the names in order (the order in which to lock them), each with the keys of its changes."""
    keys: dict[str, set[str]] = {}
    for change in changes:
        keys.setdefault(change.name, set()).update(() if change.key is None else (change.key,))
    return {name: sorted(keys[name]) for name in sorted(keys)}


def post(
    changes: Sequence[Change], pages: Mapping[str, Page], max_keys: int = MAX_KEYS
) -> tuple[list[Outcome], dict[str, Entry]]:
    """Run the model over `changes` in order: one outcome a change, and what to write, in name order.

    A counter without a page was never touched. Repeats of a key inside the flush see its record, and only counters that
    have something to write get an entry: a flush of replays and refusals writes nothing.
    """
    names = sorted({change.name for change in changes})
    accounts = {name: _Account(pages.get(name, Page()), max_keys) for name in names}
    outcomes = [accounts[change.name].post(change) for change in changes]
    entries = {name: account.entry() for name, account in accounts.items()}
    return outcomes, {name: entry for name, entry in entries.items() if entry.changed or entry.records}


class _Account:
    """One counter in the course of a flush."""

    def __init__(self, page: Page, max_keys: int) -> None:
        self._page, self._max_keys = page, max_keys
        self._state = State(*page.reading, keys=page.keys)
        self._fresh: dict[str, Record] = {}

    def post(self, change: Change) -> Outcome:
        if change.key is None:
            self._state, outcome = apply(self._state, change, self._max_keys)
            return outcome
        known = self._fresh.get(change.key) or self._page.records.get(change.key)
        after, outcome = apply(self._state._replace(record=known), change, self._max_keys)
        if known is None and after.record is not None:
            self._fresh[change.key] = after.record
        self._state = after._replace(record=None)
        return outcome

    def entry(self) -> Entry:
        reading = Reading(self._state.value, self._state.version)
        return Entry(reading, reading.version != self._page.reading.version, self._fresh)


class LiveKeys(NamedTuple):
    """The live keys of a counter, counted without looking at them: those made in one generation and in the one before.

    A generation is a key life long. A record lives until the generation after its own is over: at least one life, at
    most two. So they are three numbers beside the reading, and forgetting a generation costs nothing.
    """

    generation: int = 0
    newer: int = 0
    older: int = 0

    @property
    def live(self) -> int:
        """How many keys count towards the quota."""
        return self.newer + self.older

    def at(self, generation: int) -> LiveKeys:
        """Return them as they stand in `generation`; what is older than the one before is forgotten."""
        if generation == self.generation:
            return self
        return LiveKeys(generation, 0, self.newer if generation == self.generation + 1 else 0)

    def plus(self, made: int) -> LiveKeys:
        """Return them after `made` more keys in its generation."""
        return self._replace(newer=self.newer + made)


def generation_at(now_ms: int, life_s: float) -> int:
    """Return the generation that a key made now belongs to."""
    return int(now_ms // (1000 * life_s))


def expiry_ms(generation: int, life_s: float) -> int:
    """Return when the records of `generation` end: with the generation after it.

    A store keeps this time, not the generation: another key life in the settings must not shorten one promised before.
    """
    return int((generation + 2) * 1000 * life_s)


def record_to_text(record: Record) -> str:
    """Write down a key's record: `1,,,, applied 7 7`. Visible ASCII and spaces, about 40 bytes, at most 160."""
    outcome = record.outcome
    code = outcome.reason if isinstance(outcome, Refused) else "applied"
    return f"{record.fingerprint} {code} {outcome.value} {outcome.version}"


def record_from_text(text: str) -> Record:
    """Read what `record_to_text` wrote."""
    fingerprint, code, value, version = text.split(" ")
    if code == "applied":
        return Record(fingerprint, Applied(int(value), int(version)))
    return Record(fingerprint, Refused(code, int(value), int(version)))  # type: ignore[arg-type]  # a model's reason


def pages_to_text(pages: Mapping[str, Page]) -> str:
    """Write down what a flush saw: a few bytes a counter, where its answers would be a few bytes a change.

    A flush sent again is answered from this: the model is pure, so `post` gives the same answers again.
    """
    words = {
        name: [*page.reading, page.keys, {key: record_to_text(record) for key, record in page.records.items()}]
        for name, page in pages.items()
    }
    return json.dumps(words, separators=(",", ":"))


def pages_from_text(text: str) -> dict[str, Page]:
    """Read what `pages_to_text` wrote."""
    return {
        name: Page(Reading(value, version), keys, {key: record_from_text(one) for key, one in records.items()})
        for name, (value, version, keys, records) in json.loads(text).items()
    }
