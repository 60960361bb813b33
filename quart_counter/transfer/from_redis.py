"""Counters from the plain keys that INCR makes in Redis or Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import redis.asyncio as aioredis

from quart_counter.errors import ConfigurationError, InvalidChange
from quart_counter.stores.base import Limits, answered
from quart_counter.stores.redis.address import check_options
from quart_counter.stores.redis.questions import ask
from quart_counter.stores.redis.session import pool
from quart_counter.stores.redis.trust import check_trust
from quart_counter.transfer.naming import Naming
from quart_counter.transfer.rows import Row, restore, whole

COUNT: Final = 512  # a hint to Redis: it may answer a few more


async def batches(url: str, match: str, naming: Naming, limits: Limits) -> AsyncIterator[tuple[list[Row], int]]:
    """Yield the counters in the keys that `match`, with how many keys were looked at. Keys of other kinds than strings
    are passed over.

    Redis may list a key twice while keys come and go. Raises InvalidChange that names the key, StoreAway, and
    ConfigurationError for a URL that is wrong.
    """
    try:
        check_options(url)
        check_trust(url)
        client = aioredis.Redis(connection_pool=pool(url, limits, connections=1, decode_responses=False))
    except ValueError:
        raise ConfigurationError("the URL of --from-redis is wrong: use redis://USER:PASSWORD@HOST:PORT/0") from None
    async with aclosing(client), aclosing(client.connection_pool):
        cursor = 0
        while True:
            cursor, keys = await _ask(partial(client.scan, cursor, match, COUNT), limits)
            values = await _ask(partial(client.mget, keys), limits) if keys else []
            held = [(key, value) for key, value in zip(keys, values, strict=True) if value is not None]
            yield [_row(key, value, naming) for key, value in held], len(keys)
            if cursor == 0:
                return


async def _ask(question: Callable[[], Awaitable[Any]], limits: Limits) -> Any:
    return await answered(lambda: ask(question(), limits), limits)


def _row(key: bytes, value: bytes, naming: Naming) -> Row:
    shown = key.decode(errors="backslashreplace")
    try:
        row = Row(naming.name(shown), whole(value.decode("latin-1")))
        restore(row)
        return row
    except InvalidChange as invalid:
        raise InvalidChange(
            f"the key {invalid}" if shown in str(invalid) else f"the key {shown!r}: {invalid}"
        ) from None
    except ValueError:
        raise InvalidChange(f"the key {shown!r:.200} holds {value!r:.40}, no whole number: narrow --match") from None
