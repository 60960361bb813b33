"""Three lines in your test: does every request get a number of its own, when 100 clients ask at once?

    from quart_counter.testing import assert_unique_numbers

    async def test_tickets():
        await assert_unique_numbers(app, "POST /tickets", clients=100)

`app` is any ASGI app (Quart, FastAPI, Starlette, Django's), called in this process, or the URL of a server that runs,
in any language. Both functions are plain coroutines, for any test runner: without an asyncio plugin it is
`asyncio.run(assert_unique_numbers(...))`, or the fixture `race` of quart_counter.pytest_plugin.
"""

from __future__ import annotations

import json as _json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urljoin

from quart_counter.errors import ConfigurationError

if TYPE_CHECKING:
    from quart_counter.lab.foreign.client import Client
    from quart_counter.lab.foreign.row import Row
    from quart_counter.lab.foreign.target import Request

__all__ = ["assert_unique_numbers", "race"]

App: TypeAlias = Callable[..., Any]


async def race(
    app_or_url: App | str,
    request: str,
    clients: int = 100,
    *,
    requests: int | None = None,
    headers: Mapping[str, str] | None = None,
    body: str | bytes = b"",
    json: Any = None,
    answer: str | None = None,
    read: str | None = None,
    start: int | None = None,
    per_client: bool = False,
    gaps_allowed: bool = False,
    repeat: int = 1,
    timeout_s: float = 10.0,
    i_own: Collection[str] = (),
    lifespan: bool = True,
) -> Row:
    """Send `request` ("POST /tickets") from all clients at once; return what the answers say.

    `.verdict` is "RACY", "NO_RACE_SEEN" or "INCONCLUSIVE"; `.anomalies`, `.numbers` and `.operations` are what was
    seen, `str()` tells it. The number is the only integer in an answer, or where `answer` says: "json:/value",
    "regex:number (\\d+)", "header:X-Number". `requests`: in all, one a client unless given. `read`: a path whose GET
    answers the value. `start`: the value before the first request. `per_client`: each client is to see its own 1, 2, 3.
    `gaps_allowed`: numbers may be left out. `repeat`: volleys, until one shows a race. `i_own`: hosts that may be raced
    besides this machine. `lifespan`: start the app before and stop it afterwards; False if it runs already, as within
    `async with app.test_app()`.

    Raises: ConfigurationError, if nothing answers, or answers no number.
    """
    from quart_counter.lab.foreign import answers, target
    from quart_counter.lab.foreign.race import Race
    from quart_counter.lab.foreign.row import Plan

    plan = Plan.of(
        clients,
        requests,
        extractor=None if answer is None else answers.parse(answer),
        start=start,
        per_client=per_client,
        gaps_allowed=gaps_allowed,
        repeat=repeat,
        timeout_s=timeout_s,
    )
    asked = _composed(app_or_url, request, headers or {}, _bytes(body, json))
    async with _clients(app_or_url, asked, plan.clients, i_own, lifespan) as client:
        reader = None if read is None else client(_composed(app_or_url, f"GET {read}", headers or {}, b""))
        where = target.shown(urljoin(app_or_url, asked.path)) if isinstance(app_or_url, str) else asked.path
        return await Race(where, asked.method, plan).run(partial(client, asked), reader)


async def assert_unique_numbers(app_or_url: App | str, request: str, clients: int = 100, **options: Any) -> Row:
    """Fail unless every request gets a number of its own, in order, none left out; show the two that did not.

    Takes what `race` takes, and returns what it returns. A race that proves nothing (too few answers, too little
    overlap) fails too.
    """
    __tracebackhide__ = True
    seen = await race(app_or_url, request, clients, **options)
    if seen.verdict != "NO_RACE_SEEN":
        raise AssertionError(str(seen))
    return seen


def _composed(app_or_url: App | str, request: str, headers: Mapping[str, str], body: bytes) -> Request:
    from quart_counter.lab.foreign import target

    method, _, path = request.rpartition(" ")
    base = app_or_url if isinstance(app_or_url, str) else "http://localhost"
    if not base.startswith(("http://", "https://")):
        raise ConfigurationError(f"{base!a} is neither an ASGI app nor a URL: give the app itself, or http://HOST:PORT")
    if not path.startswith("/"):
        raise ConfigurationError(f"{request!a} is not a request: write it as 'POST /tickets'")
    return target.compose(urljoin(base, path), method or "POST", headers.items(), body)


def _bytes(body: str | bytes, json: Any) -> bytes:
    if json is not None:
        return _json.dumps(json).encode()
    return body.encode() if isinstance(body, str) else body


@asynccontextmanager
async def _clients(
    app_or_url: App | str, request: Request, most: int, owned: Collection[str], lifespan: bool
) -> AsyncIterator[Callable[[Request], Client]]:
    from quart_counter.lab.foreign import inside, target, wire

    if isinstance(app_or_url, str):
        async with wire.over_sockets(target.aim(app_or_url, request, owned), most) as client:
            yield client
    else:
        async with inside.inside(app_or_url, lifespan=lifespan) as client:
            yield client
