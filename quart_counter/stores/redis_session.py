"""How the Redis store connects, and what a server as configured promises."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from quart_counter.errors import ConfigurationError
from quart_counter.stores.base import Guarantees, Limits

URL_OPTIONS: Final = {
    *("db", "client_name", "health_check_interval", "socket_keepalive"),
    *("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"),
}


def pool(url: str, limits: Limits, connections: int, *, decode_responses: bool = True) -> BlockingConnectionPool:
    """Return a pool of `connections` that never retries by itself; callers wait for a free one."""
    # Protocol 2: with 3, redis-py 8.1 skips the check for a leftover reply, which would go to the next caller.
    return BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=limits.store_timeout_s,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=limits.store_timeout_s,
        decode_responses=decode_responses,
    )


def check_options(url: str) -> None:
    """Raise ConfigurationError for an option that would beat ours: redis-py lets the URL win over its arguments."""
    for option in parse_qs(urlsplit(url).query):
        if option not in URL_OPTIONS:
            raise ConfigurationError(
                f"the Redis URL has the option {option!r}: there are {', '.join(sorted(URL_OPTIONS))}"
            )


def check_role(info: dict[str, Any]) -> None:
    """Raise ConfigurationError for a server that cannot count: a replica only reads, a cluster splits our keys."""
    if info.get("role") == "slave":
        raise ConfigurationError("this Redis is a read-only replica: name its primary with --url")
    if info.get("cluster_enabled"):
        raise ConfigurationError("this Redis is a node of a cluster, which is not supported: name a single server")


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


def _server(info: dict[str, Any]) -> str:
    if "valkey_version" in info:
        return f"Valkey {info['valkey_version']}"
    return f"Redis {info.get('redis_version', '')}".rstrip()
