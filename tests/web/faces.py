"""One interface, two ways to reach it: Quart's test client, and raw sockets to a real Hypercorn."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from e2e.raw import Headers, Reply, ask, chunked, hypercorn
from quart import Quart
from werkzeug.datastructures import Headers as WerkzeugHeaders

Face = Callable[..., Awaitable[Reply]]  # face(method, target, headers=(), body=b"") -> Reply


@asynccontextmanager
async def by_client(app: Quart) -> AsyncIterator[Face]:
    async with app.test_app():

        async def face(method: str, target: str, headers: Headers = (), body: bytes = b"") -> Reply:
            path, _, query = target.partition("?")
            scope: dict[str, Any] = {"raw_path": path.encode("latin-1"), "query_string": query.encode("latin-1")}
            everything = WerkzeugHeaders([*headers])
            client = app.test_client(use_cookies=False)
            async with client.request(path, method=method, headers=everything, scope_base=scope) as connection:
                await connection.send(body)
                await connection.send_complete()
            answer = await connection.as_response()
            words = [(word.lower(), value) for word, value in answer.headers.items()]
            return Reply(answer.status_code, words, await answer.get_data(as_text=False))

        yield face


@asynccontextmanager
async def by_hypercorn(app: Quart) -> AsyncIterator[Face]:
    async with hypercorn(app) as url:

        async def face(method: str, target: str, headers: Headers = (), body: bytes = b"") -> Reply:
            framing = dict(headers).get("Transfer-Encoding")
            return await ask(url, method, target, headers, chunked(body) if framing == "chunked" else body)

        yield face


JSON = (("Content-Type", "application/json"),)

FACES = {"client": by_client, "hypercorn": by_hypercorn}


def assert_problem(reply: Reply, method: str = "") -> None:
    """Every error is an RFC 9457 document that says what to do."""
    assert reply.header("content-type") == "application/problem+json"
    assert [value for word, value in reply.headers if word == "cache-control"] == ["no-store"]
    if method == "HEAD":
        return  # it has no body
    document = reply.json
    assert document["type"].startswith("urn:quart-counter:")
    assert document["status"] == reply.status
    assert document["title"]
    assert document["detail"].endswith(".")
