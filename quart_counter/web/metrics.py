"""`/metrics` in Prometheus text format 0.0.4: the sum over all workers of the service, whichever of them is asked."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from quart import Blueprint, Response

from quart_counter.counters import Counters
from quart_counter.errors import StoreAway
from quart_counter.model import Applied, Change, NotApplied, Outcome, Refused
from quart_counter.stores.base import Store
from quart_counter.web import tally as slots
from quart_counter.web.answers import Answer
from quart_counter.web.api import to_response
from quart_counter.web.scope import raw_path
from quart_counter.web.tally import Tally

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, str, int | float]  # what follows the family's name, labels, number
Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class Requests:
    """ASGI middleware, the outermost of the app's own: counts every request, also those that are turned away."""

    def __init__(self, app: Any, tally: Tally) -> None:
        self._app, self._tally = app, tally

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on; count it before its answer leaves, so that whoever has the answer finds it counted."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        since = time.perf_counter_ns()
        answered = False

        def count(status: int) -> None:
            self._tally.request(scope["method"], raw_path(scope), status, time.perf_counter_ns() - since)

        async def watched(message: Any) -> None:
            nonlocal answered
            if not answered and message["type"] == "http.response.start":
                answered = True
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if not answered:
                count(0)


def watch_store(store: Store, tally: Tally) -> Store:
    """Return the store with its flushes counted."""
    apply = store.apply

    async def counted(changes: Sequence[Change]) -> Sequence[Outcome]:
        tally.row[slots.FLUSHES] += 1
        tally.row[slots.FLUSHED] += len(changes)
        return await apply(changes)

    store.apply = counted  # type: ignore[method-assign]
    return store


def watch(counters: Counters, tally: Tally) -> None:
    """Count what becomes of changes, and note from reads whether the store is up."""
    apply = counters.apply

    async def counted(change: Change) -> Outcome:
        row, slot = tally.row, _UNANSWERED  # stays so when the caller hangs up first, whatever becomes of the change
        row[slots.WAITING] += 1
        try:
            outcome = await apply(change)
            slot = _slot_of(outcome)
            return outcome
        finally:
            row[slots.WAITING] -= 1
            row[slot] += 1

    def noted(read: Callable[[Asked], Awaitable[Answered]]) -> Any:
        async def reading(asked: Asked) -> Answered:
            try:
                answered = await read(asked)
            except StoreAway:
                tally.store(up=False)
                raise
            tally.store(up=True)
            return answered

        return reading

    counters.apply = counted  # type: ignore[method-assign]
    counters.look, counters.look_at = noted(counters.look), noted(counters.look_at)  # type: ignore[method-assign]


_APPLIED, _REPLAYED, _REFUSED, _NOT_APPLIED, _UNKNOWN, _UNANSWERED = (
    slots.CHANGES + place for place in range(len(slots.OUTCOMES))
)


def _slot_of(outcome: Outcome) -> int:
    match outcome:
        case Applied():
            return _REPLAYED if outcome.replayed else _APPLIED
        case Refused():
            return _REPLAYED if outcome.replayed else _REFUSED
        case NotApplied():
            return _NOT_APPLIED
    return _UNKNOWN


def text(totals: Sequence[int], version: str, mode: str) -> str:
    """Write the totals of a tally in Prometheus text format. Series that never counted are left out where there are
    many, but not where an absent one would break a sum."""
    waiting, flushes, flushed, starts = totals[slots.WAITING : slots.STARTS + 1]
    families = [
        _family("info", "gauge", "What runs here.", [("", f'version="{version}",mode="{mode}"', 1)]),
        _family("worker_starts_total", "counter", "Workers started, the first ones included.", [("", "", starts)]),
        _family(
            "requests_total",
            "counter",
            "Requests by route, method and class of status (none: hung up).",
            _requests(totals),
        ),
        _family(
            "request_duration_seconds", "histogram", "From a request's head to its answer's head.", _durations(totals)
        ),
        _family("changes_total", "counter", "Changes by what their caller was told.", _changes(totals)),
        _family("changes_waiting", "gauge", "Changes that wait for their outcome now.", [("", "", waiting)]),
        _family("flushes_total", "counter", "Trips to the store with changes.", [("", "", flushes)]),
        _family("flushed_changes_total", "counter", "Changes that those trips carried.", [("", "", flushed)]),
        _family("store_up", "gauge", "1 if the store answered the last read, as /readyz makes one.", _store_up(totals)),
    ]
    return "".join(line + "\n" for family in families for line in family)


def _family(name: str, kind: str, help: str, samples: Iterable[Sample]) -> Iterator[str]:
    name = f"quart_counter_{name}"
    yield f"# HELP {name} {help}"
    yield f"# TYPE {name} {kind}"
    for suffix, labels, number in samples:
        yield f"{name}{suffix}{{{labels}}} {number}" if labels else f"{name}{suffix} {number}"


def _requests(totals: Sequence[int]) -> Iterator[Sample]:
    for slot, route, method, status in slots.request_slots():
        if totals[slot]:
            yield "", f'route="{route}",method="{method}",status="{status}"', totals[slot]


def _durations(totals: Sequence[int]) -> Iterator[Sample]:
    bounds = [*(str(bound / 1000) for bound in slots.BOUNDS_MS), "+Inf"]
    for place, route in enumerate(slots.ROUTES):
        first = slots.DURATIONS + place * (slots.BUCKETS + 1)
        *counts, total_ns = totals[first : first + slots.BUCKETS + 1]
        if not any(counts):
            continue
        for through, bound in enumerate(bounds, 1):
            yield "_bucket", f'route="{route}",le="{bound}"', sum(counts[:through])
        yield "_sum", f'route="{route}"', total_ns / 1e9
        yield "_count", f'route="{route}"', sum(counts)


def _changes(totals: Sequence[int]) -> Iterator[Sample]:
    for place, outcome in enumerate(slots.OUTCOMES):
        yield "", f'outcome="{outcome}"', totals[slots.CHANGES + place]


def _store_up(totals: Sequence[int]) -> Iterator[Sample]:
    if totals[slots.STORE]:
        yield "", "", totals[slots.STORE] % 2


def blueprint(tally: Tally, version: str, mode: str) -> Blueprint:
    """Return /metrics. It looks at numbers in memory only, so it answers when the store is away too."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    async def metrics() -> Response:
        headers = (("content-type", CONTENT_TYPE), ("cache-control", "no-store"))
        return to_response(Answer(200, headers, text(tally.totals(), version, mode).encode()))

    return routes
