"""The short way of increments, beside the long one through Quart: status, headers and body are the same to the byte."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from e2e.raw import Headers, Reply, chunked, connect, hypercorn
from quart import Quart, request

from quart_counter import create_app
from quart_counter.web.shortcut import Shortcut
from web.faces import JSON
from web.test_http_table import HARMLESS, INCREMENT, WRONG, Case, ids

pytestmark = pytest.mark.asyncio(loop_scope="module")


def keyed(key: str, body: bytes = b"") -> Case:
    return Case(f"key {key}", 200, "POST", INCREMENT, [*JSON, ("Idempotency-Key", key)], body)


def body(content: bytes, *more: tuple[str, str]) -> Case:
    return Case(f"body {content.decode()}", 200, "POST", INCREMENT, [*JSON, *more], content)


GOOD = [
    Case("plain", 200, "POST", INCREMENT),
    Case("a query", 200, "POST", f"{INCREMENT}?x=1"),
    Case("escaped", 200, "POST", "/counters/%74ickets/increment"),
    Case("absolute form", 200, "POST", f"http://localhost{INCREMENT}"),
    Case("from this site", 200, "POST", INCREMENT, [("Origin", "http://localhost"), ("Sec-Fetch-Site", "same-origin")]),
    Case("content length 0", 200, "POST", INCREMENT, [("Content-Length", "0")]),
    *map(body, [b"{}", b'{"by": 5}', b'{"by": -3}', b'{"by": 2147483648}', b' {"by": 1} ']),
    body(b'{"by": 1}' + b" " * 5000),
    *[keyed("k"), keyed("k"), keyed('"k"'), keyed("l", b'{"by": 7}'), keyed("l", b'{"by": 7}')],
    keyed("l", b'{"by": 8}')._replace(status=422),
    Case("If-Match *", 200, "POST", INCREMENT, [("If-Match", "*")]),
    Case("If-Match of another", 412, "POST", INCREMENT, [("If-Match", '"7"')]),
    Case("chunked", 200, "POST", INCREMENT, [*JSON, ("Transfer-Encoding", "chunked")], b'{"by": 2}'),
    Case("cap", 409, "POST", "/counters/high/increment", JSON, b'{"by": 2147483648}'),
]


class Both:
    """One service that goes the short way, one that cannot, and connections to both."""

    def __init__(self, short: str, long: str) -> None:
        self.urls = (short, long)

    async def ask(self, method: str, target: str, headers: Headers = (), content: bytes = b"") -> Reply:
        """Ask both and return the one answer that they gave."""
        if dict(headers).get("Transfer-Encoding") == "chunked":
            content = chunked(content)
        short, long = [await self._one(url, method, target, headers, content) for url in self.urls]
        assert short == long
        return short

    async def _one(self, url: str, method: str, target: str, headers: Headers, content: bytes) -> Reply:
        async with connect(url) as connection:
            reply = await connection.ask(method, target, headers, content)
        return Reply(reply.status, [pair for pair in reply.headers if pair[0] != "date"], reply.body)


def without_lane(app: Quart) -> Quart:
    """Take the short way out of the app's layers."""
    layer: Any = app.asgi_app
    while not isinstance(layer._app, Shortcut):
        layer = layer._app
    layer._app = layer._app._app
    return app


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def both() -> AsyncIterator[Both]:
    apps = create_app(mode="lock", secret_key="x" * 32), without_lane(create_app(mode="lock", secret_key="x" * 32))
    async with AsyncExitStack() as stack:
        both = Both(*[await stack.enter_async_context(hypercorn(app)) for app in apps])
        for _ in range(7):
            await both.ask("POST", INCREMENT, JSON, b'{"by": 10}')
        for _ in range(2):
            await both.ask("PUT", "/counters/high", JSON, b'{"value": 9007199254740991}')
        yield both


TABLE = [case for case in [*GOOD, *WRONG, *HARMLESS] if case.target not in ("/", "/readyz")]  # counters, no pages


@pytest.mark.parametrize("case", TABLE, ids=ids)
async def test_both_ways_give_one_answer(both: Both, case: Case) -> None:
    reply = await both.ask(case.method, case.target, case.headers, case.body)
    assert reply.status == case.status
    await both.ask("GET", "/counters")  # the same counters, values and versions on both sides


async def test_a_slow_body_is_given_up_alike(both: Both) -> None:
    """408 after the same time, whether the rest comes or not."""
    head = (
        f"POST {INCREMENT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    )

    async def slow(url: str) -> tuple[int, bytes, list[str]]:
        async with connect(url) as connection:
            await connection.send(head.encode() + b'{"by"')
            reply = await connection.reply()
            return reply.status, reply.body, [word for word, _ in reply.headers]

    short, long = await asyncio.gather(*map(slow, both.urls))
    assert short == long
    assert short[0] == 408


async def test_who_leaves_in_the_middle_of_a_body_has_not_asked(both: Both) -> None:
    before = (await both.ask("GET", "/counters/tickets")).json
    for url in both.urls:
        async with connect(url) as connection:
            await connection.send(
                f"POST {INCREMENT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n".encode() + b'{"by"'
            )
    assert (await both.ask("GET", "/counters/tickets")).json == before


async def test_a_bug_is_told_alike(caplog: pytest.LogCaptureFixture) -> None:
    """500 and a log with the traceback, never the traceback in the answer."""
    replies = []
    for app in (create_app(mode="lock"), without_lane(create_app(mode="lock"))):
        async with hypercorn(app) as url, connect(url) as connection:
            app.extensions["quart_counter"].apply = _broken
            replies.append(await connection.ask("POST", INCREMENT))
    short, long = replies
    assert (short.status, short.body) == (long.status, long.body)
    assert short.status == 500
    assert "secret" not in json.dumps(short.json)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["secret", "secret"]


async def _broken(change: Any) -> Any:
    raise RuntimeError("secret")


async def test_the_short_way_is_gone() -> None:
    """The test's own opposite: an increment on the long way is Quart's, on the short way it is not."""
    for app, through_quart in ((create_app(mode="lock"), []), (without_lane(create_app(mode="lock")), [INCREMENT])):
        seen: list[str] = []
        app.before_request(lambda seen=seen: seen.append(request.path))
        async with hypercorn(app) as url, connect(url) as connection:
            assert (await connection.ask("POST", INCREMENT)).status == 200
        assert [path for path in seen if path == INCREMENT] == through_quart


@pytest.mark.parametrize("mode", ["g", "app-context"])
async def test_exhibits_on_a_context_go_the_long_way(mode: str) -> None:
    async with hypercorn(create_app(mode=mode)) as url, connect(url) as connection:
        assert (await connection.ask("POST", INCREMENT)).json["value"] == 1
