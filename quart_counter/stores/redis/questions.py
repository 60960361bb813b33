"""Questions to one Redis server that may be asked twice: what it is, and what it is set to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import NoPermissionError, RedisError

from quart_counter.stores.base import Limits, StoreAway
from quart_counter.stores.redis.flush import away_words


async def ask(question: Awaitable[Any], limits: Limits) -> Any:
    """Await one answer of the driver, once. Raises StoreAway."""
    try:
        async with asyncio.timeout(limits.store_timeout_s):
            return await question
    except (RedisError, OSError, TimeoutError, ValueError) as error:
        raise StoreAway(away_words(error)) from error


async def info_of(server: aioredis.Redis, limits: Limits) -> dict[str, Any]:
    """Return what INFO says; nothing where this user may not ask. Raises StoreAway if it does not answer."""
    try:
        info: dict[str, Any] = await ask(server.info("everything"), limits)
        return info
    except StoreAway as away:
        if not isinstance(away.__cause__, NoPermissionError):
            raise
        return {}  # it is there, and forbids the question; what cannot be read counts as none


async def settings_of(server: aioredis.Redis, limits: Limits) -> dict[str, str]:
    """Return what it is set to keep; nothing where CONFIG is forbidden, as it often is to applications."""
    try:
        settings: dict[str, str] = await ask(server.config_get("append*", "save"), limits)
        return settings
    except StoreAway:  # what cannot be read counts as none
        return {}
