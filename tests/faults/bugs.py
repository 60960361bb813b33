"""The bugs themselves: each patches the package, in the worker that it runs in, as little as it takes."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

from quart_counter.counters.combiner import Combiner
from quart_counter.model import Applied, Change, NotApplied, Outcome, OutcomeUnknown, Reading, Refused
from quart_counter.stores import memory, redis, sqlite
from quart_counter.stores.redis import RedisStore
from quart_counter.stores.redis import wire as redis_wire
from quart_counter.stores.sqlite import file as sqlite_file


def _put(owner: Any, name: str, broken: Any) -> None:
    """Put something broken where something right was; a bug must not miss because that was renamed."""
    assert hasattr(owner, name), f"{owner} has no {name}: plant this bug anew"
    setattr(owner, name, broken)


def nothing() -> None:
    """For bugs that are not in the worker."""


def driver_retries() -> None:
    apply = RedisStore.apply

    async def by_the_driver(self: RedisStore, changes: Sequence[Change]) -> list[Outcome]:
        outcomes = list(await apply(self, [one for one in changes if one.key is not None]))
        return [outcomes.pop(0) if one.key is not None else await _incrby(self, one) for one in changes]

    _put(RedisStore, "apply", by_the_driver)


async def _incrby(store: RedisStore, change: Change) -> Outcome:
    address = store._reads.connection_pool.connection_kwargs
    client = store.__dict__.get("default_client")
    if client is None:
        client = store.__dict__["default_client"] = redis.aioredis.Redis(host=address["host"], port=address["port"])
    home = f"qc:{{{change.name}}}"
    try:
        async with client.pipeline(transaction=True) as both:
            value, version = await both.hincrby(home, "value", change.by).hincrby(home, "version", 1).execute()
        return Applied(value, version)
    except redis.RedisError as error:
        return OutcomeUnknown(str(error))


def flush_without_number() -> None:
    round_trip = RedisStore._round_trip

    async def renumbered(self: RedisStore, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        self._number += 1
        return await round_trip(self, [(*one[:7], self._number, *one[8:]) for one in commands])

    _put(RedisStore, "_round_trip", renumbered)


def flush_record_too_short() -> None:
    def hasty(self: RedisStore, parts: Sequence[redis_wire.Part]) -> list[tuple[Any, ...]]:
        return [(*one[:8], "1", *one[9:]) for one in commands(self, parts)]

    commands = RedisStore._commands
    _put(RedisStore, "_commands", hasty)


def unknown_told_as_not_applied() -> None:
    async def once(attempt: Callable[[], Any], limits: object) -> Any:
        try:
            return await attempt()
        except redis.StoreAway as away:
            raise redis.NeverSent(str(away)) from away

    _put(redis, "answered", once)


def key_record_too_short() -> None:
    start = RedisStore.__init__

    def forgetful(self: RedisStore, url: str, limits: redis.Limits) -> None:
        start(self, url, replace(limits, key_life_s=0.005))

    _put(RedisStore, "__init__", forgetful)


def replay_off_by_one() -> None:
    def next_one(step: Any, code: str, reading: Reading, replayed: bool) -> Sequence[Outcome]:
        return answers(step, code, Reading(reading.value + replayed, reading.version), replayed)

    answers = redis_wire._answers
    _put(redis_wire, "_answers", next_one)


def record_after_effect() -> None:
    apply = RedisStore.apply

    async def in_three_steps(self: RedisStore, changes: Sequence[Change]) -> list[Outcome]:
        records = [f"record:{one.name}:{one.key}" for one in changes]
        known = await self._reads.mget(records)
        made = iter(
            await apply(self, [one._replace(key=None) for one, old in zip(changes, known, strict=True) if not old])
        )
        outcomes = [Applied(*map(int, old.split()), True) if old else next(made) for old in known]
        new = {
            record: f"{one.value} {one.version}" for record, one in zip(records, outcomes, strict=True) if _is_new(one)
        }
        if new:
            await self._reads.mset(new)
        return outcomes

    _put(RedisStore, "apply", in_three_steps)


def _is_new(outcome: Outcome) -> bool:
    return isinstance(outcome, Applied) and not outcome.replayed


def key_not_scoped() -> None:
    def shared(self: RedisStore, parts: Sequence[redis_wire.Part]) -> list[tuple[Any, ...]]:
        return [(*one[:5], "qc:keys:", *one[6:]) for one in commands(self, parts)]

    commands = RedisStore._commands
    _put(RedisStore, "_commands", shared)


def answer_re_read() -> None:
    apply = RedisStore.apply

    async def asked_again(self: RedisStore, changes: Sequence[Change]) -> list[Outcome]:
        outcomes = await apply(self, changes)
        now = {name: await self.read(name) for name in {one.name for one in changes}}
        pairs = zip(changes, outcomes, strict=True)
        return [Applied(*now[one.name]) if isinstance(made, Applied) else made for one, made in pairs]

    _put(RedisStore, "apply", asked_again)


def replies_crossed() -> None:
    answer = Combiner._answer

    def crossed(self: Combiner[Any, Any], batch: list[Any], results: Sequence[Any]) -> None:
        answer(self, batch, [*results[1:], *results[:1]])

    _put(Combiner, "_answer", crossed)


def worker_local() -> None:
    _put(redis, "open_store", lambda url, limits: memory.open_store("memory:", limits))


def bound_checked_outside() -> None:
    apply = RedisStore.apply

    async def look_first(self: RedisStore, changes: Sequence[Change]) -> list[Outcome]:
        before = {one.name: await self.read(one.name) for one in changes if one.limit is not None}
        full = [one.limit is not None and before[one.name].value + one.by > one.limit for one in changes]
        pairs = list(zip(changes, full, strict=True))
        made = iter(await apply(self, [one._replace(limit=None) for one, refused in pairs if not refused]))
        return [Refused("bound", *before[one.name]) if refused else next(made) for one, refused in pairs]

    _put(RedisStore, "apply", look_first)


def fold_without_prefix() -> None:
    _put(redis_wire, "unfold", lambda step, reading: [Applied(*reading) for _ in step.changes])


def cancel_cuts_the_flush() -> None:
    submit = Combiner.submit

    def leaving(self: Combiner[Any, Any], item: Any) -> asyncio.Future[Any]:
        future = submit(self, item)
        future.add_done_callback(lambda done: done.cancelled() and self._task is not None and self._task.cancel())
        return future

    _put(Combiner, "submit", leaving)


def acknowledged_before_commit() -> None:
    def without_commit(self: sqlite_file.Writer, changes: Sequence[Change], until: float) -> Sequence[Outcome]:
        try:
            db = self._connected(until)
            if not db.in_transaction:
                sqlite_file._patiently(lambda: db.execute("BEGIN IMMEDIATE"), until)
            return sqlite_file._carry_out(db, changes, self._limits)
        except sqlite.sqlite3.Error as error:
            return [NotApplied(str(error))] * len(changes)

    def commit(self: sqlite_file.Writer) -> None:
        db, until = self._connected(time.monotonic() + 5), time.monotonic() + 5
        if db.in_transaction:
            sqlite_file._patiently(lambda: db.execute("COMMIT"), until)

    apply = sqlite.SqliteStore.apply

    async def commit_later(self: sqlite.SqliteStore, changes: Sequence[Change]) -> Sequence[Outcome]:
        outcomes = await apply(self, changes)
        later = partial(self._writing.run, partial(commit, self._writer), 10)
        asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(later()))
        return outcomes

    _put(sqlite_file.Writer, "flush", without_commit)
    _put(sqlite.SqliteStore, "apply", commit_later)


@contextmanager
def forgetful_redis(*, really: bool) -> Iterator[None]:
    """Start the rows' Redis without its append-only file, whatever the row asks for."""
    from faults import rig

    servers = {**rig.SERVERS, "redis": lambda **options: rig.private_redis()} if really else rig.SERVERS
    with mock.patch.object(rig, "SERVERS", servers):
        yield
