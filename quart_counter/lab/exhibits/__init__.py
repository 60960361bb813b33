"""Ways of counting for the lab: those broken on purpose, and `lock` with the same pause, so that races fire each time.

One short file a family, imported only when one of it is opened. Each states what it really promises, and the lab holds
it to that: a broken mode that is not caught is as bad as a right one that fails.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from quart_counter.errors import ConfigurationError
from quart_counter.extras import install
from quart_counter.stores.base import Limits, Store

IN_PROCESS = ("bare", "unguarded", "lock", "lock-late-answer", "thread", "session", "cookie", "session-blob")


def open_store(mode: str, url: str, limits: Limits) -> AbstractAsyncContextManager[Store]:
    """Return the store of a mode as the lab runs it. Raises ConfigurationError, also for a missing extra."""
    try:
        return _open(mode, url, limits)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"mode {mode} needs the package {error.name}: run {install('lab')}") from error


def _open(mode: str, url: str, limits: Limits) -> AbstractAsyncContextManager[Store]:
    match mode:
        case "redis-get-set" | "redis-retry":
            from quart_counter.lab.exhibits import redis

            return redis.open_store(mode, url, limits)
        case "memcached-get-set":
            from quart_counter.lab.exhibits import memcached

            return memcached.open_store(url, limits)
        case "sql-read-then-write":
            from quart_counter.lab.exhibits import sql

            return sql.open_store(url)
        case "cache":
            from quart_counter.lab.exhibits import cache

            return cache.open_store(url)
        case "manager-proxy":
            from quart_counter.lab.exhibits import manager

            return manager.open_store(url)
        case "g" | "app-context":
            from quart_counter.lab.exhibits import context

            return context.open_store(mode)
    from quart_counter.lab.exhibits import memory

    return memory.open_store(mode, limits)
