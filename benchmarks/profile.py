"""Where each microsecond of a request goes: what is the server's, and what each of our layers adds.

Seen from outside: the processor time of the server's processes for each request, under wrk. Seen from inside: each
layer of the app called with nothing around it, 64 callers at once, as often as wrk would; what a layer adds is its own
time less that of the next one inside. Redis and its own processor time are elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from benchmarks import board, profile_by_room
from benchmarks.measures import SUBJECTS
from benchmarks.report import Table, why_not
from benchmarks.rounds import Record
from benchmarks.servers import Stores
from quart_counter.model import Change

CALLERS: Final = 64
CALLS: Final = 100  # of each caller, in a round
ROUNDS: Final = 5
PATH: Final = "/counters/tickets/increment"
SCOPE: Final[Mapping[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": PATH,
    "raw_path": PATH.encode(),
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1:8000"), (b"content-length", b"0")],
    "client": ("127.0.0.1", 40000),
    "server": ("127.0.0.1", 8000),
    "extensions": {},
    "state": {},
}
REQUEST: Final = {"type": "http.request", "body": b"", "more_body": False}
Layers = list[tuple[str, float]]


def measure(*, rounds: int, seconds: int, say: Callable[[str], None]) -> list[Table]:
    """Return the account of a request in mode lock and in mode redis, and who spends it inside the process."""
    seen = _from_outside(rounds, seconds, say)
    tables = []
    with Stores() as stores:
        for mode, url in (("lock", "memory:"), ("redis", stores.redis.url)):
            say(f"profile: the layers of mode {mode}")
            tables.append(_account(mode, seen, from_inside(url)))
    if any(why_not(name, seen.get(name)) for name in profile_by_room.SERVERS):
        return tables
    return [*tables, profile_by_room.measure(seen, seconds=seconds, say=say)]


def _from_outside(rounds: int, seconds: int, say: Callable[[str], None]) -> Mapping[str, Record]:
    subjects = [one for one in SUBJECTS if one.name in ("bare", "lock", "redis")]
    return board.measure(subjects, rounds=rounds, seconds=seconds, say=say)


def _account(mode: str, seen: Mapping[str, Record], layers: Layers) -> Table:
    title = f"Where a request's time goes, mode {mode}, processor time of the server"
    why = why_not("bare", seen.get("bare")) or why_not(mode, seen.get(mode))
    if why:
        return Table(title, ["step", "us"], [[why, "-"]])
    bare, whole = seen["bare"].cpu_us_each, seen[mode].cpu_us_each
    added = sum(us for _, us in layers)
    rows = [("Hypercorn, with an app that only counts (seen under wrk)", bare), *layers]
    rows += [("sum", bare + added), ("the service, seen under wrk", whole), ("not accounted for", whole - bare - added)]
    return Table(title, ["step", "us"], [[what, f"{us:.1f}"] for what, us in rows])


def from_inside(url: str) -> Layers:
    """Return what each layer adds, outermost first, in microseconds of this process."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_from_inside(url))


async def _from_inside(url: str) -> Layers:
    from quart_counter import create_app

    app = create_app(url=url)
    async with app.test_app():
        steps = _steps(app)
        whole = dict.fromkeys(steps, float("inf"))
        for _ in range(ROUNDS):  # the least of the rounds: what disturbs only adds
            for name, step in steps.items():
                whole[name] = min(whole[name], await _us_each(step))
    names = list(steps)
    inner = [*(whole[name] for name in names[1:]), 0.0]
    return [(name, whole[name] - less) for name, less in zip(names, inner, strict=True)]


def _steps(app: Any) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return every layer that an increment passes, outermost first."""
    from quart_counter.web import api

    counters = app.extensions["quart_counter"]
    change = Change("tickets")
    steps: dict[str, Callable[[], Awaitable[Any]]] = {}
    layer = app.asgi_app
    while hasattr(layer, "_app"):
        kind = type(layer)
        steps[f"{kind.__module__.removeprefix('quart_counter.')}.{kind.__name__}"] = _call(layer)
        layer = layer._app
    steps["web.api.answer"] = lambda: api.answer(counters, "POST", SCOPE["raw_path"], b"", SCOPE["headers"], b"")
    steps["counters.apply, combiner and store"] = lambda: counters.apply(change)
    return steps


def _call(layer: Any) -> Callable[[], Awaitable[Any]]:
    async def receive() -> Mapping[str, Any]:
        return REQUEST

    async def send(message: Any) -> None:
        return None

    return lambda: layer(dict(SCOPE), receive, send)


async def _us_each(step: Callable[[], Awaitable[Any]]) -> float:
    async def caller() -> None:
        for _ in range(CALLS):
            await step()

    began = time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (time.process_time() - began) / (CALLERS * CALLS) * 1e6
