"""Counters in Redis (or Valkey), through `redis.asyncio`, where aioredis lives now.

Atomic across processes and hosts: one Lua run a counter and flush carries out the rules (`apply.lua`). redis-py's own
retries are off, for they would count twice when a reply is lost; a flush is sent again by us, under its number.

Layout, for the counter `tickets` (the braces keep all of it in one cluster slot):

    qc:{tickets}                    hash: value, version, keys (the ends of the generations that live)
    qc:{tickets}:flush:<worker>     string: that worker's last flush and its reply; lives twice the deadline
    qc:{tickets}:keys:<end in ms>   hash: idempotency key -> fingerprint and answer; lives one to two key lives
    qc:names                        sorted set of all names, for listing in order
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

import redis.asyncio as aioredis
from redis.exceptions import BusyLoadingError, NoPermissionError, NoScriptError, RedisError, ResponseError

from quart_counter.errors import ConfigurationError
from quart_counter.model import MAX_VALUE, Change, NotApplied, Outcome, OutcomeUnknown, Reading, fold
from quart_counter.stores import redis_wire as wire
from quart_counter.stores.base import Limits, NeverSent, StoreAway, answered
from quart_counter.stores.redis_session import check_options, check_role, guarantees, pool
from quart_counter.stores.redis_wire import Part

SCRIPT: Final = files("quart_counter.stores").joinpath("apply.lua").read_text()
SCRIPT_SHA: Final = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # Redis names scripts by it
READ_MANY: Final = """
local found = {}
for i, key in ipairs(KEYS) do
  local state = redis.call('HMGET', key, 'value', 'version')
  found[i] = (state[1] or '0') .. ' ' .. (state[2] or '0')
end
return table.concat(found, ' ')
"""
NAMES: Final = "qc:names"
READ_CONNECTIONS: Final = 8


class RedisStore:
    """Counters shared by every process that reaches one Redis; right with any number of workers and hosts."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._limits = limits
        self._worker = secrets.token_hex(8)
        self._number = 0
        self._one_at_a_time = asyncio.Lock()  # the server keeps this worker's last flush only: an earlier one is late
        self._flushes = pool(url, limits, connections=1)
        self._reads = aioredis.Redis(connection_pool=pool(url, limits, connections=READ_CONNECTIONS))
        self.guarantees = guarantees({}, {})

    async def inspect(self) -> None:
        """Read the server's settings and state the guarantees that they allow."""
        info = await self._info()
        check_role(info)
        self.guarantees = guarantees(info, await self._settings())

    async def _info(self) -> dict[str, Any]:
        try:
            info: dict[str, Any] = await self._ask(self._reads.info("everything"))
            return info
        except StoreAway as away:
            if not isinstance(away.__cause__, NoPermissionError):
                raise
            return {}  # it is there, and forbids the question; what cannot be read counts as none

    async def _settings(self) -> dict[str, str]:
        try:
            settings: dict[str, str] = await self._ask(self._reads.config_get("append*", "save"))
            return settings
        except StoreAway:  # CONFIG is often forbidden to applications; what cannot be read counts as none
            return {}

    async def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Carry out `changes` in order, one Lua run a name, all names in one round trip; one flush at a time."""
        outcomes: list[Outcome] = [NotApplied("the flush did not reach this change")] * len(changes)
        async with self._one_at_a_time:
            again = await self._flush(list(wire.parts(changes, fold)), outcomes)
            if again:  # a folded run would have passed the cap: nothing from it on was applied, so try each by itself
                alone = wire.parts([changes[i] for i in again], wire.each)
                parts = [part._replace(positions=[again[i] for i in part.positions]) for part in alone]
                await self._flush(parts, outcomes)
        return outcomes

    async def _flush(self, parts: Sequence[Part], outcomes: list[Outcome]) -> list[int]:
        """Send one flush, put its answers into `outcomes`, and return the positions that must be sent again alone."""
        self._number += 1
        commands = self._commands(parts)
        try:
            replies = await answered(partial(self._round_trip, commands), self._limits)
        except StoreAway as away:
            made = NotApplied if isinstance(away, NeverSent) else OutcomeUnknown
            for part in parts:
                for position in part.positions:
                    outcomes[position] = made(str(away))
            return []
        again: list[int] = []
        for part, reply in zip(parts, replies, strict=True):
            again += wire.hand_out(part, reply, outcomes)
        return again

    def _commands(self, parts: Sequence[Part]) -> list[tuple[Any, ...]]:
        """One EVALSHA a counter."""
        limits = self._limits
        rules = (2000 * limits.deadline_s, 1000 * limits.key_life_s, limits.max_keys, MAX_VALUE)
        arguments = (self._number, *(f"{rule:.0f}" for rule in rules))
        commands: list[tuple[Any, ...]] = []
        for name, steps, _ in parts:
            home = f"qc:{{{name}}}"
            keys = (home, f"{home}:flush:{self._worker}", f"{home}:keys:", NAMES)
            rows = json.dumps([wire.as_json_row(step) for step in steps], separators=(",", ":"))
            commands.append(("EVALSHA", SCRIPT_SHA, len(keys), *keys, *arguments, name, rows))
        return commands

    async def _round_trip(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send all commands at once and read all replies; errors of single commands are replies too."""
        sent = False
        try:
            async with asyncio.timeout(self._limits.store_timeout_s):
                # The pool reconnects here if an earlier reply was left over on the connection.
                connection = await self._flushes.get_connection()  # type: ignore[no-untyped-call]
                try:
                    sent = True
                    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
                    replies = [await _reply(connection) for _ in commands]
                    if any(isinstance(reply, NoScriptError) for reply in replies):
                        await connection.send_command("SCRIPT", "LOAD", SCRIPT)
                        await connection.read_response()
                        raise StoreAway("Redis had lost the script")  # send again: what was applied has its record
                    if any(isinstance(reply, BusyLoadingError) or _is_busy(reply) for reply in replies):
                        raise StoreAway("Redis is loading its data or busy with a script")
                    return replies
                finally:
                    await self._flushes.release(connection)
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            raise (StoreAway if sent else NeverSent)(_away(error)) from error

    async def read(self, name: str) -> Reading:
        """Return value and version of one moment, in one round trip on a connection that carries no flush."""
        value, version = await self._ask(self._reads.hmget(f"qc:{{{name}}}", "value", "version"))
        return Reading(int(value or 0), int(version or 0))

    async def read_many(self, names: Sequence[str]) -> Sequence[Reading]:
        """Return a reading for each of `names`, all of one moment and in one reply: redis-py takes long over many."""
        keys = [f"qc:{{{name}}}" for name in names]
        words = (await self._ask(self._reads.eval(READ_MANY, len(keys), *keys))).split()
        return [Reading(int(value), int(version)) for value, version in zip(words[::2], words[1::2], strict=True)]

    async def names(self, after: str = "", limit: int = 1000) -> Sequence[str]:
        """Return at most `limit` names greater than `after`, in order."""
        start = f"({after}" if after else "-"
        names: list[str] = await self._ask(self._reads.zrange(NAMES, start, "+", bylex=True, offset=0, num=limit))
        return names

    async def forget(self, name: str) -> None:
        """Remove a counter; what is left of its keys and flushes expires by itself."""
        await self._ask(self._reads.unlink(f"qc:{{{name}}}"))
        await self._ask(self._reads.zrem(NAMES, name))

    async def _ask(self, question: Any) -> Any:
        try:
            async with asyncio.timeout(self._limits.store_timeout_s):
                return await question
        except (RedisError, OSError, TimeoutError, ValueError) as error:
            raise StoreAway(_away(error)) from error

    async def aclose(self) -> None:
        """Close both pools."""
        await self._flushes.aclose()
        await self._reads.connection_pool.aclose()


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _is_busy(reply: object) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("BUSY ")


def _away(error: BaseException) -> str:
    return f"Redis does not answer ({str(error).rstrip('.') or type(error).__name__})"


@asynccontextmanager
async def open_store(url: str, limits: Limits) -> AsyncIterator[RedisStore]:
    """Connect, read what the server promises, and close both pools at the end. Raises ConfigurationError."""
    try:
        check_options(url)
        store = RedisStore(url, limits)
    except ValueError:  # its words may repeat a piece of the password
        raise ConfigurationError(
            "the Redis URL is wrong: use redis://USER:PASSWORD@HOST:PORT/0, and write / # ? @ in a password as %2F %23 "
            "%3F %40"
        ) from None
    try:
        try:
            await store.inspect()
        except StoreAway as away:
            raise ConfigurationError(f"{away}. Start it, or name another with --url redis://HOST:PORT/0") from None
        yield store
    finally:
        await store.aclose()
