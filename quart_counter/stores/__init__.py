"""The stores: one short file or folder a backend, all behind `base.Store`. `open_store` picks one by its URL."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from quart_counter.errors import ConfigurationError
from quart_counter.extras import install
from quart_counter.stores.base import Guarantees, Limits, Store, StoreAway

__all__ = ["Guarantees", "Limits", "Store", "StoreAway", "open_store"]


def open_store(url: str, limits: Limits | None = None) -> AbstractAsyncContextManager[Store]:
    """Return the store at `url` as a context manager that connects, checks what it promises, and closes.

    async with open_store("redis://127.0.0.1:6379/0") as store: ...

    Raises ConfigurationError for an unknown scheme, a missing extra and a server that cannot be used.
    """
    limits = limits or Limits()
    scheme = url.partition(":")[0]
    try:
        match scheme:
            case "memory":
                from quart_counter.stores import memory

                return memory.open_store(url, limits)
            case "redis" | "rediss" | "unix" | "redis+sentinel" | "rediss+sentinel":
                from quart_counter.stores import redis

                return redis.open_store(url, limits)
            case "redis+cluster" | "rediss+cluster":
                from quart_counter.stores.redis import cluster

                return cluster.open_store(url, limits)
            case "sqlite":
                from quart_counter.stores import sqlite

                return sqlite.open_store(url, limits)
            case "postgres" | "postgresql":
                from quart_counter.stores import postgres

                return postgres.open_store(url, limits)
            case "mysql" | "mariadb":
                from quart_counter.stores import mysql

                return mysql.open_store(url, limits)
            case "memcached":
                from quart_counter.stores import memcached

                return memcached.open_store(url, limits)
            case "manager":
                from quart_counter.stores import manager

                return manager.open_store(url, limits)
            case "file":
                from quart_counter.stores import file

                return file.open_store(url, limits)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{scheme}: URLs need the package {error.name}: run {install(_extra(scheme))}"
        ) from error
    raise ConfigurationError(f"no store answers to {scheme}: URLs; see quart-counter doctor for those there are")


def _extra(scheme: str) -> str:
    aliases = {"rediss": "redis", "unix": "redis", "postgresql": "postgres", "mariadb": "mysql"}
    plain = scheme.partition("+")[0]
    return aliases.get(plain, plain)
