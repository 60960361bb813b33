"""How to reach a primary that may move: each new connection asks the Sentinels where it is, and it whether it is one.

Through them the Redis store counts as with one server, at another address after a failover. What a failover may lose is
for the guarantees to say.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, RedisError

from quart_counter.stores.base import Limits
from quart_counter.stores.redis.address import SENTINEL_LOGIN, Place, for_driver, several

SENTINEL_PORT: Final = 26_379
NEVER: Final = Retry(NoBackoff(), 0)


def through_sentinels(url: str, limits: Limits) -> dict[str, Any]:
    """Return the arguments of a pool whose connections ask the Sentinels of `url` first. Raises ValueError."""
    address = several(url, SENTINEL_PORT)
    service, db = (*address.path, "0")[:2] if address.path else ("", "0")
    if not service or not db.isdecimal() or len(address.path) > 2:
        raise ValueError("no service, or no database after it")
    words = parse_url(for_driver(address.server(address.hosts[0], db)))
    trust = {name: word for name, word in words.items() if name.startswith("ssl_")}  # Sentinels are asked with TLS, too
    login = {name.partition("_")[2]: word for name, word in parse_qsl(address.query) if name in SENTINEL_LOGIN}
    patience_s = limits.store_timeout_s / 3  # so that a silent one leaves time for another
    asked = {"socket_connect_timeout": patience_s, "socket_timeout": patience_s, **trust, **login}
    kind = SSLPrimary if address.tls else Primary
    return {**words, "connection_class": kind, "sentinels": address.hosts, "service": service, "asked": asked}


class _Moving:
    """A connection whose host is found anew each time it connects."""

    host: str
    port: int
    sentinel_class: type[Connection] = Connection

    def __init__(self, *, sentinels: Sequence[Place], service: str, asked: dict[str, Any], **words: Any) -> None:
        self._sentinels, self._service, self._asked = list(sentinels), service, asked
        super().__init__(**words)

    async def _connect(self) -> None:
        self.host, self.port = await where(self._sentinels, self._service, self._asked, self.sentinel_class)
        await super()._connect()  # type: ignore[misc]

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        await super().on_connect_check_health(check_health)  # type: ignore[misc]
        await self.send_command("ROLE")  # type: ignore[attr-defined]
        role = await self.read_response()  # type: ignore[attr-defined]
        if role[0] not in ("master", b"master"):
            raise ConnectionError(f"{self.host}:{self.port} is no primary (yet)")


async def where(sentinels: Sequence[Place], service: str, asked: dict[str, Any], kind: type[Connection]) -> Place:
    """Ask one Sentinel after another where the primary is, none of them always first. Raises ConnectionError."""
    troubles = []
    for host, port in random.sample(sentinels, k=len(sentinels)):
        try:
            found = await _ask(
                kind(host=host, port=port, retry=NEVER, protocol=2, decode_responses=True, **asked), service
            )
        except (RedisError, OSError, TimeoutError) as error:
            troubles.append(f"{host}:{port}: {error or type(error).__name__}")
            continue
        if found:
            return str(found[0]), int(found[1])
        troubles.append(f"{host}:{port}: it knows no {service!r}")
    raise ConnectionError(f"no Sentinel told where the primary is: {'; '.join(troubles)}")


async def _ask(sentinel: Connection, service: str) -> Any:
    try:
        async with asyncio.timeout(sentinel.socket_timeout):
            await sentinel.connect()  # type: ignore[no-untyped-call]
            await sentinel.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
            return await sentinel.read_response()
    finally:
        await sentinel.disconnect(nowait=True)


async def let_go_of_the_replaced(pools: Sequence[ConnectionPool]) -> None:
    """Close the idle connections of `pools` that lead to another server than the one the Sentinels name now.

    A primary that only stood still goes on as one until the Sentinels demote it, ten seconds later; what it takes in
    meanwhile is lost.
    """
    words: dict[str, Any] = pools[0].connection_kwargs
    kind = SSLConnection if issubclass(pools[0].connection_class, SSLPrimary) else Connection
    try:
        place = await where(words["sentinels"], words["service"], words["asked"], kind)
    except ConnectionError:
        return  # the Sentinels are away; the primary may well be there
    for pool in pools:
        connections: Sequence[Any] = pool._available_connections
        if any((one.host, one.port) != place for one in connections):
            await pool.disconnect(inuse_connections=False)


class Primary(_Moving, Connection):
    """A connection to whoever is the primary."""


class SSLPrimary(_Moving, SSLConnection):
    """The same, and the way to the Sentinels too, with TLS."""

    sentinel_class = SSLConnection
