"""The routes of the service, each with all it can answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from quart_counter.stores.memory import MemoryStore
from quart_counter.web.openapi import cases
from quart_counter.web.openapi.cases import Case

TAGS: Final = {
    "counters": "Each has a name; there is nothing to set up.",
    "session": "A number for each client, which nobody else sees or changes.",
    "page": "The page for people.",
    "operation": "For those who run the service.",
}


class Route(NamedTuple):
    """One method of one path; `bodies` are examples, the first one the plainest."""

    method: str
    path: str
    summary: str
    cases: tuple[Case, ...]
    about: str = ""
    parameters: tuple[str, ...] = ()
    body: str = ""
    body_required: bool = False
    bodies: tuple[Mapping[str, Any], ...] = ()


def routes(slow: Case) -> Sequence[Route]:
    """Return every route; `slow` is the answer to a body that trickles in."""
    everywhere, read = cases.EVERYWHERE, (slow, cases.LARGE, *cases.EVERYWHERE)
    change = (*cases.CHANGE, *read)
    with_key = ("Name", "IdempotencyKey", "IfMatch")
    no_keys = (cases.BAD_KEY, cases.NO_KEYS_ON_THIS_PATH)
    own = (cases.OWN, cases.TWICE, *no_keys, cases.FOREIGN, cases.AWAY, cases.UNKNOWN_KEYLESS, *read)
    ready = cases.ready(asdict(MemoryStore.guarantees))
    return (
        Route(
            *("post", "/counters/{name}/increment", "Count"),
            (*cases.done(42), cases.CAP, *change),
            "Adds `by`, or 1, and answers the new value, which is this request's alone while everybody adds.",
            with_key,
            "Increment",
            bodies=({}, {"by": 5}),
        ),
        Route(
            *("post", "/counters/{name}/take", "Count up to a limit"),
            (*cases.done(42), cases.BOUND, cases.CAP, *change),
            "Adds `by` unless that would pass `limit` (counting up) or `floor` (counting down): sell 100, never 101.",
            with_key,
            "Take",
            body_required=True,
            bodies=({"by": 1, "limit": 100}, {"by": -1, "floor": 0}),
        ),
        Route(
            *("get", "/counters/{name}", "Read"),
            (cases.READ, cases.NAME, cases.UNREAD, *read),
            "Sees every change that was answered before.",
            ("Name",),
        ),
        Route(
            *("put", "/counters/{name}", "Set"),
            (*cases.done(7), *change),
            "With `If-Match`, only if nothing has changed since that version was read.",
            with_key,
            "Set",
            body_required=True,
            bodies=({"value": 7},),
        ),
        Route(
            *("delete", "/counters/{name}", "Reset"),
            (*cases.done(0), *change),
            "Sets the value to 0. The version goes on, so a reset can be told from a counter never touched.",
            with_key,
        ),
        Route(
            *("get", "/counters", "List"),
            (cases.LISTED, cases.PARAMETER, cases.RANGE, cases.UNREAD, *read),
            "In the order of names; `next` is the `after` of the following page, or null.",
            ("After", "Limit"),
        ),
        Route("get", "/session", "Read your own number", (cases.OWN, cases.UNREAD, *everywhere)),
        Route(
            *("post", "/session/{effect}", "Count for yourself"),
            (*own, cases.NO_EFFECT),
            "The first time, the answer sets the cookie that says which number is yours: send it back.",
            ("Effect",),
        ),
        Route("get", "/", "The page", (cases.HTML, cases.UNREAD, *everywhere)),
        Route(
            *("post", "/", "The page's form"),
            (cases.SEEN_OTHER, cases.ACTION, cases.TWICE, *no_keys, cases.FOREIGN, *read),
            body="Form",
            body_required=True,
            bodies=({"action": "increment"},),
        ),
        Route("get", "/healthz", "Whether this worker is alive", (cases.ALIVE, *everywhere)),
        Route("get", "/readyz", "Whether it is ready, and what it promises", (ready, cases.NOT_READY, *everywhere)),
        Route("get", "/metrics", "Numbers about the service, for Prometheus", (cases.METRICS, *everywhere)),
        Route("get", "/openapi.json", "This document", (cases.DOCUMENT, *everywhere)),
        Route("get", "/docs", "This document, to read", (cases.HTML, *everywhere)),
    )
