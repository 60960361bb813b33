"""Between the service and its Redis a reply gets lost, or hangs: nothing counts twice, and nobody is told a lie."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from faults.proxy import FaultProxy
from servers import a_server_of_our_own

from e2e.raw import Reply, ask, hypercorn
from quart_counter import create_app
from quart_counter.local.process import LocalServer

INCREMENT = "/counters/tickets/increment"
KEY = [("Idempotency-Key", "order-7")]


@pytest.fixture
def own_redis() -> LocalServer:
    with a_server_of_our_own("redis") as server:
        yield server


@asynccontextmanager
async def behind(server: LocalServer) -> AsyncIterator[tuple[FaultProxy, str]]:
    """A proxy in front of Redis, and the URL of the service behind it; each has counted one change already."""
    redis = urlsplit(server.url)
    async with FaultProxy(redis.hostname, redis.port) as proxy:
        url = f"redis://{proxy.address}/0"
        app = create_app(mode="redis", url=url, store_timeout_s=0.2, deadline_s=0.6)
        async with hypercorn(app) as service:
            assert (await ask(service, "POST", INCREMENT)).json["value"] == 1
            yield proxy, service


async def value(service: str) -> int:
    read: int = (await ask(service, "GET", "/counters/tickets")).json["value"]
    return read


@pytest.mark.parametrize("headers", [[], KEY], ids=["without key", "with key"])
@pytest.mark.parametrize("fault", ["drop", "reset", "drop_request", "dribble"])
async def test_a_lost_reply_counts_once(own_redis: LocalServer, fault: str, headers: list[tuple[str, str]]) -> None:
    """The flush is sent again under its number, and Redis answers from its record."""
    async with behind(own_redis) as (proxy, service):
        proxy.next_reply = fault
        reply = await ask(service, "POST", INCREMENT, headers)
        assert proxy.fired[fault] == 1
        assert (reply.status, reply.json["value"], reply.json["version"]) == (200, 2, 2)
        assert reply.header("idempotency-replayed") is None
        assert await value(service) == 2
        if headers:
            again = await ask(service, "POST", INCREMENT, headers)
            assert (again.body, again.header("idempotency-replayed")) == (reply.body, "true")
        assert await value(service) == 2


def assert_unknown(reply: Reply, key: str | None) -> None:
    assert (reply.status, reply.header("content-type")) == (504, "application/problem+json")
    assert (reply.json["applied"], reply.json["key"]) == ("unknown", key)
    assert reply.json["type"] == "urn:quart-counter:outcome-unknown"


async def test_a_stall_is_unknown_and_the_key_finds_out(own_redis: LocalServer) -> None:
    """The change was applied; nobody could know. The same key answers with the number it got, and counts once."""
    async with behind(own_redis) as (proxy, service):
        proxy.always = "stall"
        lost = await ask(service, "POST", INCREMENT, KEY)
        assert_unknown(lost, "order-7")
        assert "same key" in lost.json["detail"]
        proxy.always = "pass"
        await proxy.cut()
        found = await ask(service, "POST", INCREMENT, KEY)
        assert (found.status, found.json["value"], found.header("idempotency-replayed")) == (200, 2, "true")
        assert await value(service) == 2


async def test_a_stall_without_a_key_stays_unknown(own_redis: LocalServer) -> None:
    async with behind(own_redis) as (proxy, service):
        proxy.always = "stall"
        lost = await ask(service, "POST", INCREMENT)
        assert_unknown(lost, None)
        assert "sent without Idempotency-Key: the outcome cannot be found out" in lost.json["detail"]
        proxy.always = "pass"
        await proxy.cut()
        assert await value(service) == 2
        assert (await ask(service, "POST", INCREMENT)).json["value"] == 3


async def test_a_request_that_cannot_arrive_is_not_applied(own_redis: LocalServer) -> None:
    """Nobody listens: that is known, and sending it again is safe."""
    async with behind(own_redis) as (proxy, service):
        await proxy.aclose()
        reply = await ask(service, "POST", INCREMENT, KEY)
        assert (reply.status, reply.json["applied"], reply.header("retry-after")) == (503, "no", "1")
        ready = await ask(service, "GET", "/readyz")
        assert (ready.status, ready.json["ready"], ready.header("cache-control")) == (503, False, "no-store")
