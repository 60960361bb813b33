"""Counters in memcached, by compare-and-swap.

Atomic across processes and hosts: a step reads a counter's whole item (`gets`), runs the model on it, and stores the
result only if nobody stored another in between (`cas`). A lost race is a definite conflict and is run again at once.
memcached's own `incr` will not do: it creates nothing, wraps at 2^64, stops at 0 on the way down, and knows no key.

Effect, key records and flush numbers lie in one item, so they become true in one step, and an eviction or a restart
forgets all of a counter or nothing of it:

    qc:c:tickets     "<value> <version>\\n" and JSON: {"keys": {"<end>": {key: record}},
                     "flushes": {worker: [end, number, quota, what the flush saw]}}
    qc:names:<00-3f> names, a line each, by a hash of the name; for listing only

A flush whose reply was lost is sent again: the item holds its worker's last number, and from what that flush saw the
model gives its answers again. An old `cas` that arrives late finds its token used, or wins and is found.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from quart_counter.errors import ConfigurationError
from quart_counter.model import Change, NotApplied, Outcome, Reading
from quart_counter.stores.base import Guarantees, Limits, NeverSent, StoreAway
from quart_counter.stores.ledger import pages_from_text, pages_to_text, post
from quart_counter.stores.memcached.flush import ITEM, Attempt, Flush, Item, item_of, item_text
from quart_counter.stores.memcached.wire import Reply, Wire, append, gets, put
from quart_counter.stores.shelf import end_of_life, monotonic_ms, wall_ms

NAMES: Final = "qc:names:"
SHARDS: Final = 64  # of the list of names: each is one item, and an item has a largest size
LARGEST_RECORD: Final = 768  # bytes that a key and its record take in JSON, at most
GRAIN_MS: Final = 2000  # clients take memcached's clock, which tells whole seconds
FIRST_PAUSE_S: Final = 0.001
LONGEST_PAUSE_S: Final = 0.05


class MemcachedStore:
    """Counters shared by every process that reaches one memcached, until it restarts."""

    def __init__(self, host: str, port: int, limits: Limits) -> None:
        self._limits = limits
        self._worker = secrets.token_hex(8)
        self._number = 0
        self._one_at_a_time = asyncio.Lock()  # the items keep this worker's last flush only
        self._flushes = Wire(host, port, limits.store_timeout_s)
        self._reads = Wire(host, port, limits.store_timeout_s)
        self._item_size = 1 << 20
        self._clock_ms = wall_ms() - monotonic_ms()
        self.guarantees = _guarantees({}, {})

    async def inspect(self) -> None:
        """Read the server's settings and clock, and state the guarantees they allow."""
        now, settings = [reply.stats for reply in await self._reads.exchange([b"stats\r\n", b"stats settings\r\n"])]
        if settings.get("cas_enabled", "yes") != "yes":
            raise ConfigurationError("this memcached runs without compare-and-swap: start it without -C")
        if now.get("time", "").isdigit():
            self._clock_ms = 1000 * int(now["time"]) - monotonic_ms()
        self._item_size = int(settings.get("item_size_max", self._item_size))
        self.guarantees = _guarantees(now, settings)

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order: one `gets` and one `cas` a counter, all of them in the same two round trips."""
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            self._number += 1
            flush = Flush(changes, self._number)
            deadline, longest_s = loop.time() + self._limits.deadline_s, FIRST_PAUSE_S
            while flush.waiting:
                try:
                    await self._try(flush)
                except StoreAway as away:
                    flush.trouble = str(away)
                pause_s = random.uniform(0, longest_s)  # two that collide must not go on in step
                if not flush.waiting or loop.time() + pause_s >= deadline:
                    break
                await asyncio.sleep(pause_s)
                longest_s = min(2 * longest_s, LONGEST_PAUSE_S)
        return flush.outcomes()

    async def _try(self, flush: Flush) -> None:
        """One round: read, compute, store. What is stored, or needs no storing, has its answers afterwards."""
        names = list(flush.waiting)
        found = await self._flushes.exchange([gets(ITEM + name) for name in names])
        commands: list[bytes] = []
        stored: dict[str, tuple[int, Attempt]] = {}
        for name, reply in zip(names, found, strict=True):
            try:
                attempt = self._attempt(item_of(name, reply.data), flush, name)
            except StoreAway as away:
                if name in flush.in_doubt:  # what an earlier try did there cannot be told any more
                    flush.trouble = str(away)
                    continue
                attempt = Attempt([NotApplied(str(away))] * len(flush.of(name)))
            if attempt.data is None:
                flush.answer(name, attempt.outcomes)
                continue
            if attempt.is_new:  # listed before it exists: a name too many is harmless, one too few is not
                commands += [put(_shard(name), b"", None), append(_shard(name), f"{name}\n".encode())]
            stored[name] = len(commands), attempt
            commands.append(put(ITEM + name, attempt.data, reply.token))
        if commands:
            replies = await self._stored(commands, flush, stored)
            for name, (place, attempt) in stored.items():
                flush.heard(name, attempt, replies[place].line)

    async def _stored(self, commands: Sequence[bytes], flush: Flush, names: Iterable[str]) -> Sequence[Reply]:
        try:
            return await self._flushes.exchange(commands)
        except StoreAway as away:
            if not isinstance(away, NeverSent):
                flush.in_doubt.update(names)
            raise

    def _attempt(self, item: Item, flush: Flush, name: str) -> Attempt:
        changes = flush.of(name)
        _, number, quota, seen = item.flushes.get(self._worker, (0, 0, 0, ""))
        if number == flush.number:  # its reply was lost
            return Attempt(post(changes, pages_from_text(seen), quota)[0])
        now_ms = self._clock_ms + monotonic_ms()
        item.shelf.forget_expired(now_ms)
        quota = min(self._limits.max_keys, item.shelf.live + max(0, self._item_size // 2 - item.size) // LARGEST_RECORD)
        page = item.shelf.page(item.reading, flush.waiting[name])
        outcomes, entries = post(changes, {name: page}, quota)
        if name not in entries:
            return Attempt(outcomes)
        reading, changed, records = entries[name]
        item.shelf.keep(end_of_life(now_ms, self._limits.key_life_s), records)
        flushes = {worker: last for worker, last in item.flushes.items() if last[0] > now_ms}
        until_ms = now_ms + int(2000 * self._limits.deadline_s) + GRAIN_MS
        flushes[self._worker] = [until_ms, flush.number, quota, pages_to_text({name: page})]
        return Attempt(outcomes, item_text(reading, item.shelf, flushes), is_new=changed and item.reading.version == 0)

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment, on a connection that carries no flush."""
        (reply,) = await self._reads.exchange([gets(ITEM + name)])
        return item_of(name, reply.data).reading

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, all in one round trip."""
        replies = await self._reads.exchange([gets(ITEM + name) for name in names])
        return [item_of(name, reply.data).reading for name, reply in zip(names, replies, strict=True)]

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order; up to about 16,000 names a shard are listed."""
        shards = await self._reads.exchange([gets(f"{NAMES}{shard:02x}") for shard in range(SHARDS)])
        names = {name for shard in shards for name in (shard.data or b"").decode().split()}
        return sorted(name for name in names if name > after)[:limit]

    async def forget(self, name: str) -> None:
        """Remove a counter and its keys, and its name from the list."""
        shard = _shard(name)
        _, listed = await self._reads.exchange([f"delete {ITEM}{name}\r\n".encode(), gets(shard)])
        while listed.data is not None and name.encode() in listed.data.split():
            others = b"".join(one + b"\n" for one in listed.data.split() if one != name.encode())
            _, listed = await self._reads.exchange([put(shard, others, listed.token), gets(shard)])

    async def aclose(self) -> None:
        """Close both connections."""
        await self._flushes.aclose()
        await self._reads.aclose()


def _shard(name: str) -> str:
    return f"{NAMES}{zlib.crc32(name.encode()) % SHARDS:02x}"


def _guarantees(stats: Mapping[str, str], settings: Mapping[str, str]) -> Guarantees:
    """State what this server, as configured, keeps; what it does not tell counts as the worse."""
    evicts = settings.get("evictions") != "off"
    lost = sum(int(stats.get(word, 0)) for word in ("evictions", "slab_reassign_evictions_nomem"))
    notes = ["memcached keeps nothing: a restart forgets counters and keys, and numbers begin at 1 again"]
    if evicts:
        notes.append(
            f"when its memory is full it evicts counters and keys too ({lost} items so far): run memcached -M, with "
            "enough -m, and a full one refuses instead"
        )
    room = int(settings.get("item_size_max", 1 << 20)) // 2
    notes.append(f"a counter's live keys share {room // 1024} KiB, about {room // 100} of them; more are refused")
    return Guarantees(
        scope="network",
        atomic=True,
        durable="none",
        exactly_once=not evicts,
        versioned=True,
        gapless=not evicts,
        notes=tuple(notes),
        server=f"memcached {stats.get('version', '')}".strip(),
    )


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[MemcachedStore]:
    """Connect, read what the server promises, and close both connections at the end. Raises ConfigurationError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 11211
    except ValueError as error:
        raise ConfigurationError(f"the memcached URL is wrong ({error}): use memcached://HOST:PORT") from error
    if parts.username or parts.password or parts.path.strip("/") or parts.query:
        raise ConfigurationError("the memcached URL has more than a host and a port: use memcached://HOST:PORT")
    store = MemcachedStore(host, port, limits)
    async with aclosing(store):
        try:
            await store.inspect()
        except StoreAway as away:
            raise ConfigurationError(f"{away}. Start it, or name another with --url memcached://HOST:PORT") from away
        yield store
