"""How the Redis stores connect, and what a server as configured promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from redis.asyncio.connection import BlockingConnectionPool, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from quart_counter.errors import ConfigurationError
from quart_counter.stores.base import Guarantees, Limits
from quart_counter.stores.redis.address import for_driver
from quart_counter.stores.redis.sentinel import through_sentinels

READ_CONNECTIONS: Final = 8
DURABILITY: Final = ("none", "restart", "crash", "power_loss")
ANOTHER_TAKES_OVER: Final = (
    "a crash or a power cut of one may lose the last changes, acknowledged ones too: another takes over with what it "
    "was sent so far (docs/how-far.md has the figures and the settings)"
)


def pool(url: str, limits: Limits, connections: int, *, decode_responses: bool = True) -> BlockingConnectionPool:
    """Return a pool of `connections` that never retries by itself; callers wait for a free one."""
    # Protocol 2: with 3, redis-py 8.1 skips the check for a leftover reply, which would go to the next caller.
    where = through_sentinels(url, limits) if "+sentinel:" in url else parse_url(for_driver(url))
    ours = {
        "max_connections": connections,
        "timeout": limits.store_timeout_s,
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": limits.store_timeout_s,
        "decode_responses": decode_responses,
    }
    return BlockingConnectionPool(**{**where, **ours})


def check_role(info: dict[str, Any]) -> None:
    """Raise ConfigurationError for a server that cannot count: a replica only reads, a cluster splits our keys."""
    if info.get("role") == "slave":
        raise ConfigurationError("this Redis is a read-only replica: name its primary with --url")
    if info.get("cluster_enabled"):
        raise ConfigurationError("this Redis is a node of a cluster: name it as redis+cluster://HOST:PORT")


def guarantees(info: dict[str, Any], settings: dict[str, str]) -> Guarantees:
    """State what this server, as configured, keeps; `info` and `settings` are empty before it was asked."""
    notes = []
    policy = info.get("maxmemory_policy", "unknown")
    evicts = not info or (info.get("maxmemory", 0) and policy != "noeviction")
    if evicts:
        notes.append(
            f"maxmemory-policy is {policy}: Redis may forget counters and keys; "
            "run CONFIG SET maxmemory-policy noeviction"
        )
    durable = "none"
    if info.get("aof_enabled"):
        fsync = settings.get("appendfsync")
        durable = "power_loss" if fsync == "always" else "restart"
        notes.append(f"append-only file on, fsync {fsync or 'unknown'}")
        if fsync != "always":
            # Redis answers first, and puts the write off while its own fsync runs: kill -9 on a busy disk loses some.
            notes.append("a crash or a power cut may lose about the last 2 seconds; appendfsync always does not")
    elif settings.get("save"):
        durable = "restart"
        notes.append("snapshots only: a crash loses what came after the last one; CONFIG SET appendonly yes keeps it")
    elif info and "save" not in settings:
        notes.append("no append-only file, and CONFIG GET is not answered: whether it keeps snapshots cannot be told")
    else:
        notes.append("no append-only file: a restart of Redis forgets all; CONFIG SET appendonly yes keeps it")
    return Guarantees(
        scope="network",
        atomic=True,
        durable="none" if evicts else durable,  # type: ignore[arg-type]
        exactly_once=not evicts,
        versioned=True,
        gapless=True,
        notes=tuple(notes),
        server=_server(info),
    )


def replicated(each: Sequence[Guarantees], wait_replicas: int) -> Guarantees:
    """State what several servers keep together when a replica may take over: what the weakest of them keeps, and at
    most a restart in good order, for replication is asynchronous.
    """
    weakest = min(each, key=lambda one: DURABILITY.index(one.durable))
    waits = (f"a change is answered when {wait_replicas} replica(s) have it",) if wait_replicas else ()
    notes = dict.fromkeys(note for one in each for note in one.notes if "appendfsync always does not" not in note)
    return replace(
        weakest,
        durable="restart" if DURABILITY.index(weakest.durable) > 0 else "none",
        exactly_once=all(one.exactly_once for one in each),
        notes=(*notes, ANOTHER_TAKES_OVER, *waits),
    )


def _server(info: dict[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', '')}".rstrip()
