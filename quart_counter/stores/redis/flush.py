"""What every Redis store shares: flushes of numbered script runs, one after another, and trips on one connection."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final, TypeAlias

from redis.asyncio.connection import ConnectionPool
from redis.exceptions import AuthenticationError, BusyLoadingError, NoScriptError, RedisError, ResponseError

from quart_counter.errors import ConfigurationError
from quart_counter.model import MAX_VALUE, Change, NotApplied, Outcome, fold
from quart_counter.stores.base import Limits, NeverSent, StoreAway
from quart_counter.stores.redis import wire
from quart_counter.stores.redis.wire import Part

Command: TypeAlias = tuple[Any, ...]

SCRIPT: Final = files("quart_counter.stores.redis").joinpath("apply.lua").read_text()
SCRIPT_SHA: Final = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # Redis names scripts by it


class Flushes:
    """One flush at a time, under rising numbers: sent again after a lost reply it counts once. `_replies` sends it."""

    shared_keys: tuple[str, ...] = ()  # what a script run needs beside the counter's own keys

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._worker = secrets.token_hex(8)
        self._number = 0
        self._one_at_a_time = asyncio.Lock()  # the server keeps this worker's last flush only: an earlier one is late

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
        replies = await self._replies(self._commands(parts))
        again: list[int] = []
        for part, reply in zip(parts, replies, strict=True):
            again += wire.hand_out(part, reply, outcomes)
        return again

    async def _replies(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Send until answered or too late: for each command its reply, the server's error, or a StoreAway."""
        raise NotImplementedError

    def _commands(self, parts: Sequence[Part]) -> list[Command]:
        """One EVALSHA a counter; its first key is the counter's."""
        limits = self._limits
        rules = (2000 * limits.deadline_s, 1000 * limits.key_life_s, limits.max_keys, MAX_VALUE)
        arguments = (self._number, *(f"{rule:.0f}" for rule in rules))
        commands: list[Command] = []
        for name, steps, _ in parts:
            home = home_of(name)
            keys = (home, f"{home}:flush:{self._worker}", f"{home}:keys:", *self.shared_keys)
            rows = json.dumps([wire.as_json_row(step) for step in steps], separators=(",", ":"))
            commands.append(("EVALSHA", SCRIPT_SHA, len(keys), *keys, *arguments, name, rows))
        return commands


def home_of(name: str) -> str:
    """Return the key of a counter; the braces keep all that belongs to it in one slot."""
    return f"qc:{{{name}}}"


async def trip(pool: ConnectionPool, commands: Sequence[Command], limits: Limits, wait_replicas: int = 0) -> list[Any]:
    """Send all commands at once and read all replies; errors of single commands are replies too.

    With `wait_replicas` it ends when so many replicas have what was written. Raises NeverSent, StoreAway.
    """
    sent = False
    wait = [("WAIT", wait_replicas, max(1, int(500 * limits.store_timeout_s)))] if wait_replicas else []
    try:
        async with asyncio.timeout(limits.store_timeout_s):
            # The pool reconnects here if an earlier reply was left over on the connection.
            connection = await pool.get_connection()  # type: ignore[no-untyped-call]
            try:
                sent = True
                await connection.send_packed_command(connection.pack_commands([*commands, *wait]), check_health=False)
                replies = [await _reply(connection) for _ in commands]
                reached = [await _reply(connection) for _ in wait]
                await _check(connection, replies)
                _check_reached(reached, replies, wait_replicas)
                return replies
            finally:
                await pool.release(connection)
    except (RedisError, OSError, TimeoutError, ValueError) as error:
        raise (StoreAway if sent else NeverSent)(away_words(error)) from error


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


async def _check(connection: Any, replies: Sequence[Any]) -> None:
    """Raise StoreAway for what passes: send again, and what was applied has its record."""
    if any(isinstance(reply, NoScriptError) for reply in replies):
        await connection.send_command("SCRIPT", "LOAD", SCRIPT)
        await connection.read_response()
        raise StoreAway("Redis had lost the script")
    if any(isinstance(reply, BusyLoadingError) or _is_busy(reply) for reply in replies):
        raise StoreAway("Redis is loading its data or busy with a script")


def _check_reached(reached: Sequence[Any], replies: Sequence[Any], wanted: int) -> None:
    """Raise StoreAway if too few replicas have it: it counts here, and nobody is told so yet."""
    answered = any(not isinstance(reply, ResponseError) for reply in replies)
    for number in reached:
        if answered and (not isinstance(number, int) or number < wanted):
            raise StoreAway(f"{number} of {wanted} replicas have the change")


def _is_busy(reply: object) -> bool:
    return isinstance(reply, ResponseError) and str(reply).startswith("BUSY ")


def away_words(error: BaseException) -> str:
    """Say in a sentence why there was no answer."""
    does = "refuses the login" if isinstance(error, AuthenticationError) else "does not answer"
    return f"Redis {does} ({str(error).rstrip('.') or type(error).__name__})"


def unusable(away: StoreAway, remedy: str) -> ConfigurationError:
    """Say what mends a Redis that cannot be used at the start."""
    return ConfigurationError(f"{away}. {_first_step(away)}, or {remedy}")


def _first_step(away: StoreAway) -> str:
    if isinstance(away.__cause__, AuthenticationError):
        return "Look at user and password"
    if "CERTIFICATE_VERIFY_FAILED" in str(away):  # behind Sentinels there is no cause but these words
        return "Name the CA of its certificate with ssl_ca_certs=FILE in the URL, and its host as the certificate does"
    if "CERTIFICATE_REQUIRED" in str(away):
        return "Show it yours with ssl_certfile=FILE&ssl_keyfile=FILE in the URL"
    return "Start it"
