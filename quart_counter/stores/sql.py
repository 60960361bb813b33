"""What the SQL stores share: rows in, rows out, and the flush as one numbered transaction on a server.

`decide` is pure: from what a transaction loaded it makes the answers and the rows to write. `Flusher` sends a flush as
one transaction, again and again until it is answered, and lets it count once.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeAlias

from quart_counter.model import Change, NotApplied, Outcome, Reading, Record
from quart_counter.stores.base import Limits, NeverSent, StoreAway, answered, outcome_of
from quart_counter.stores.ledger import (
    LiveKeys,
    Page,
    expiry_ms,
    generation_at,
    pages_from_text,
    pages_to_text,
    post,
    record_from_text,
    record_to_text,
    wanted,
)

OPENING_S: Final = 10.0  # a try at the start may create tables, and nobody waits for a number yet
SWEEP: Final = 1024  # expired keys that a flush with new ones deletes: twice what it can add, so they cannot pile up


CounterRow: TypeAlias = tuple[str, int, int, int, int, int]  # name, value, version; generation, newer, older (LiveKeys)


class Loaded(NamedTuple):
    """What a transaction read behind its locks: the server's clock, counters, and live keys as (name, key, record)."""

    now_ms: int
    counters: Sequence[CounterRow]
    keys: Sequence[tuple[str, str, str]]


class Rows(NamedTuple):
    """What a transaction writes, in name order: counters, and keys as (name, key, record, expires_ms)."""

    counters: Sequence[CounterRow]
    keys: Sequence[tuple[str, str, str, int]]


class Decision(NamedTuple):
    """The answers of a flush, the rows that make them true, and what it saw: enough to give the answers once more."""

    outcomes: Sequence[Outcome]
    rows: Rows
    saw: Mapping[str, Page]


def decide(changes: Sequence[Change], loaded: Loaded, limits: Limits) -> Decision:
    """Run the model over what was loaded. Pure."""
    generation = generation_at(loaded.now_ms, limits.key_life_s)
    end = expiry_ms(generation, limits.key_life_s)
    live, saw = _pages(loaded, generation)
    outcomes, entries = post(changes, saw, limits.max_keys)
    counters: list[CounterRow] = []
    keys: list[tuple[str, str, str, int]] = []
    for name, entry in entries.items():
        keys_now = live.get(name, LiveKeys(generation)).plus(len(entry.records))
        counters.append((name, *entry.reading, *keys_now))
        keys += [(name, key, record_to_text(record), end) for key, record in sorted(entry.records.items())]
    return Decision(outcomes, Rows(counters, keys), saw)


def _pages(loaded: Loaded, generation: int) -> tuple[dict[str, LiveKeys], dict[str, Page]]:
    records: dict[str, dict[str, Record]] = {}
    for name, key, text in loaded.keys:
        records.setdefault(name, {})[key] = record_from_text(text)
    live = {name: LiveKeys(*keys).at(generation) for name, _, _, *keys in loaded.counters}
    saw = {
        name: Page(Reading(value, version), live[name].live, records.get(name, {}))
        for name, value, version, *_ in loaded.counters
    }
    return live, saw


def values(rows: Iterable[Iterable[str | int]]) -> str:
    """Write rows out as SQL: `(1, 'one'), (2, 'two')`."""
    return ", ".join(f"({', '.join(map(literal, row))})" for row in rows)


def literal(value: str | int) -> str:
    """Write a value out as SQL, for several statements in one trip take no parameters.

    Sound where a backslash means nothing: the sessions see to that (standard_conforming_strings, NO_BACKSLASH_ESCAPES).
    """
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


class Victim(Exception):
    """The server undid the transaction for another one's sake (deadlock, lock timeout): it may be tried again."""


class Hopeless(Exception):
    """The server refused and undid the transaction; another try would meet the same."""


class Receipt(NamedTuple):
    """By what a flush is known again: its worker's last number and what it saw, kept for twice the deadline."""

    worker: str
    number: int
    saw: str
    expires_ms: int


class Session(Protocol):
    """One connection, speaking the server's SQL. Raises Victim, Hopeless and StoreAway, never a driver's error."""

    async def begin(self, names: Mapping[str, Sequence[str]]) -> Loaded:
        """Begin a transaction, lock these counters in this order, then load them and the keys given with each."""

    async def saw(self, worker: str, number: int) -> str | None:
        """Return what the receipt of this flush says, if there is one."""

    async def commit(self, rows: Rows, receipt: Receipt, expired_ms: int | None) -> None:
        """Write all this and commit; delete up to SWEEP keys that ended by `expired_ms`, if it is given."""

    async def rollback(self) -> None:
        """End the transaction without a trace."""

    async def aclose(self, worker: str) -> None:
        """Delete the worker's receipt and say goodbye."""

    def terminate(self) -> None:
        """Cut the connection, whatever state it is in."""


@dataclass
class _Flush:
    number: int
    changes: Sequence[Change]
    in_doubt: bool = False  # a COMMIT was sent and not answered


class Flusher:
    """Sends flushes one at a time over one connection; whatever goes wrong on the way, a flush counts once.

    A connection that did not answer is thrown away, for its transaction may be committed. The flush is sent again on
    another one: it waits there for the same row locks, so the earlier try has ended, and its receipt tells how.
    """

    def __init__(self, connect: Callable[[], Awaitable[Session]], server: str, limits: Limits) -> None:
        self._connect, self._server, self._limits = connect, server, limits
        self._worker = secrets.token_hex(8)
        self._number = 0
        self._session: Session | None = None
        self._one_at_a_time = asyncio.Lock()  # a worker has one receipt

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order, in one transaction."""
        if not changes:
            return []
        async with self._one_at_a_time:
            self._number += 1
            flush = _Flush(self._number, changes)
            try:
                return await answered(partial(self._attempt, flush), self._limits)
            except Hopeless as error:
                return [NotApplied(str(error))] * len(changes)
            except StoreAway as away:
                return [outcome_of(away)] * len(changes)

    async def aclose(self) -> None:
        """Close the connection."""
        async with self._one_at_a_time:
            session, self._session = self._session, None
            if session is None:
                return
            try:
                async with asyncio.timeout(self._limits.store_timeout_s):
                    await session.aclose(self._worker)
            except (Victim, Hopeless, StoreAway, TimeoutError):
                session.terminate()

    async def _attempt(self, flush: _Flush) -> Sequence[Outcome]:
        try:
            async with asyncio.timeout(self._limits.store_timeout_s):
                if self._session is None:
                    self._session = await self._connect()
                return await self._carry_out(self._session, flush)
        except BaseException as error:
            self._throw_away()
            if isinstance(error, Hopeless) and not flush.in_doubt:
                raise
            if isinstance(error, (Victim, Hopeless, StoreAway, TimeoutError)):
                sentence = str(error) or f"{self._server} did not answer in {self._limits.store_timeout_s:g} s"
                raise (StoreAway if flush.in_doubt else NeverSent)(sentence) from error
            raise

    async def _carry_out(self, session: Session, flush: _Flush) -> Sequence[Outcome]:
        loaded = await session.begin(wanted(flush.changes))
        if flush.in_doubt:
            saw = await session.saw(self._worker, flush.number)
            if saw is not None:
                await session.rollback()
                return post(flush.changes, pages_from_text(saw), self._limits.max_keys)[0]
            flush.in_doubt = False  # its locks are ours, so the earlier try is over and was not committed
        outcomes, rows, saw_now = decide(flush.changes, loaded, self._limits)
        if not rows.counters:  # refusals and repeats only
            await session.rollback()
            return outcomes
        kept_until = loaded.now_ms + int(2000 * self._limits.deadline_s)
        receipt = Receipt(self._worker, flush.number, pages_to_text(saw_now), kept_until)
        flush.in_doubt = True
        try:
            await session.commit(rows, receipt, loaded.now_ms if rows.keys else None)
        except (Victim, Hopeless):
            flush.in_doubt = False
            raise
        return outcomes

    def _throw_away(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.terminate()
