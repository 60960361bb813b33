"""The answers that routes can give, each with when it is given; made by the code that gives them, so they stay true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from quart_counter.counters import NO_KEYS
from quart_counter.errors import InvalidChange, InvalidKey
from quart_counter.keys import check_age
from quart_counter.model import MAX_VALUE, Applied, Change, NotApplied, OutcomeUnknown, Refused, check_change
from quart_counter.web import answers, hosts, parse
from quart_counter.web.answers import Answer, Problem, problem
from quart_counter.web.api import problem_not_found
from quart_counter.web.front import MAX_HEADERS, MAX_TARGET
from quart_counter.web.listing import PAGE_LIMIT
from quart_counter.web.parse import MAX_BODY

KEY: Final = "2f1d6f0c-6a1e-4d7e-9a53-0c1f6f9f7b11"
AGED_KEY: Final = "01993c7e-9a00-7b3a-8f21-5d0c6e4b9a17"  # made in September 2025
JSON: Final = ((b"content-type", b"application/json"),)


class Case(NamedTuple):
    """When an answer is given, and the answer itself; `schema` is the name of what describes its body."""

    when: str
    answer: Answer
    schema: str = "Problem"


def _refused(call: Callable[[], object]) -> Answer:
    try:
        call()
    except Problem as wrong:
        return wrong.answer
    raise AssertionError("an example of a refusal was accepted")


def _invalid(change: Change) -> Answer:
    try:
        check_change(change)
    except InvalidChange as invalid:
        return problem(422, f"{invalid}.", kind="field")
    raise AssertionError("an example of an impossible change is possible")


def _bad_key(call: Callable[[], object]) -> Answer:
    try:
        call()
    except InvalidKey as invalid:
        return problem(422, f"{invalid}.", kind=f"key-{invalid.reason}")
    raise AssertionError("an example of an unusable key was accepted")


def _plain(media: str, body: bytes = b"") -> Answer:
    return Answer(200, (("content-type", media),), body)


# What every route can say
FRAMING: Final = Case(
    "the request has two lengths (Content-Length with Transfer-Encoding), or is HTTP/2 without TLS",
    problem(400, "Send Content-Length or Transfer-Encoding, not both."),
)
HEADERS: Final = Case(
    f"the headers are larger than {MAX_HEADERS} bytes",
    problem(431, f"The headers are larger than {MAX_HEADERS} bytes."),
)
TARGET: Final = Case(
    f"path and query are longer than {MAX_TARGET} bytes",
    problem(414, f"Path and query are longer than {MAX_TARGET} bytes."),
)
MISDIRECTED: Final = Case("there are no tokens, and the Host is neither localhost nor an address", hosts.misdirected())
CODING: Final = Case(
    "the body has a Transfer-Encoding other than chunked",
    problem(501, "The only Transfer-Encoding that is known here is chunked."),
)
EVERYWHERE: Final = (FRAMING, HEADERS)

# Routes that read the body, be it to throw it away
LARGE: Final = Case(
    f"the body is larger than {MAX_BODY} bytes", _refused(lambda: parse.fields((), b" " * (MAX_BODY + 1), ()))
)


def slow(body_timeout_s: float) -> Case:
    """A body that trickles in."""
    return Case(
        f"the body took longer than {body_timeout_s:g} seconds",
        problem(408, f"The body did not arrive within {body_timeout_s:g} seconds."),
    )


# Effects
FOREIGN: Final = Case(
    "a page of another site sent it (a foreign Origin, or Sec-Fetch-Site: cross-site)",
    _refused(lambda: parse.refuse_foreign([(b"sec-fetch-site", b"cross-site")])),
)
TWICE: Final = Case(
    "a header that may come once came twice", _refused(lambda: parse.header([(b"host", b"a")] * 2, b"host"))
)
AWAY: Final = Case(
    "the store is busy or away and nothing happened: sending it again is safe",
    answers.outcome(Change("tickets"), NotApplied("Redis does not answer")),
    "NotApplied",
)
UNREAD: Final = Case("the store is away", answers.away("Redis does not answer. Try again."), "NotApplied")
UNKNOWN: Final = Case(
    "it may have happened: send it again with the same key to find out, and it counts once",
    answers.outcome(Change("tickets", key=KEY), OutcomeUnknown("Redis does not answer")),
    "OutcomeUnknown",
)
UNKNOWN_KEYLESS: Final = Case(
    "it may have happened, and cannot be found out without a key",
    answers.outcome(Change("tickets"), OutcomeUnknown("Redis does not answer")),
    "OutcomeUnknown",
)

# Counters
READ: Final = Case(
    "the value and version of one moment; 0 and 0 for a counter never touched",
    answers.reading("tickets", 42, 42, (("etag", '"42"'),)),
    "Reading",
)
NAME: Final = Case("the name is not a counter's name", _refused(lambda: parse.name(b"no%20name")))
SYNTAX: Final = Case(
    "the body is not UTF-8 JSON, or names a field twice",
    _refused(lambda: parse.fields(JSON, b'{"by": 1, "by": 2}', ("by",))),
)
BAD_KEY: Final = Case("the Idempotency-Key is malformed", _refused(lambda: parse.key([(b"idempotency-key", b"a b")])))
BAD_TAG: Final = Case("the If-Match is malformed", _refused(lambda: parse.if_version([(b"if-match", b"42")])))
MEDIA: Final = Case(
    "the body is not declared as application/json",
    _refused(lambda: parse.fields([(b"content-type", b"text/plain")], b"by=1", ("by",))),
)
FIELD: Final = Case("a field is unknown, missing, of the wrong type or out of range", _invalid(Change("tickets", by=0)))
KEY_REUSED: Final = Case(
    "the key was sent before with another request to this counter",
    answers.outcome(Change("tickets", key=KEY), Refused("key_reused", 42, 42)),
    "Refusal",
)
KEY_EXPIRED: Final = Case(
    "the key is a UUIDv7 older than keys are remembered",
    _bad_key(lambda: check_age(AGED_KEY, 3600.0, 1_757_666_000.0)),
)
KEY_AHEAD: Final = Case(
    "the key is a UUIDv7 from a clock more than a minute ahead",
    _bad_key(lambda: check_age(AGED_KEY, 3600.0, 1_757_656_000.0)),
)
NO_KEYS_HERE: Final = Case(
    "a key was sent, and the store keeps none (its guarantees say exactly_once: false)",
    problem(422, f"{NO_KEYS}.", kind="key-unsupported"),
)
NO_KEYS_ON_THIS_PATH: Final = Case(
    "a key was sent, and this path keeps none", _refused(lambda: parse.refuse_key([(b"idempotency-key", b"k")]))
)
VERSION: Final = Case(
    "the counter is not at the version in If-Match",
    answers.outcome(Change("tickets", if_version=41), Refused("version", 42, 42)),
    "Refusal",
)
CAP: Final = Case(
    "the value would leave ±(2^53 - 1)", answers.outcome(Change("tickets"), Refused("cap", MAX_VALUE, 42)), "Refusal"
)
BOUND: Final = Case(
    "the value would pass the limit or the floor",
    answers.outcome(Change("tickets", by=1, limit=100), Refused("bound", 100, 100)),
    "Refusal",
)
PARAMETER: Final = Case(
    "a parameter is unknown or given twice", _refused(lambda: parse.query(b"page=2", ("after", "limit")))
)
RANGE: Final = Case(
    "after is not a counter's name, or limit is out of range",
    problem(422, f"limit must be a whole number from 1 to {PAGE_LIMIT}.", kind="field"),
)
LISTED: Final = Case(
    "names in order, with their readings",
    answers.document({"counters": [{"name": "tickets", "value": 42, "version": 42}], "next": None}),
    "Page",
)
CHANGE: Final = (
    *(NAME, SYNTAX, BAD_KEY, BAD_TAG, TWICE, FOREIGN, VERSION),
    *(MEDIA, FIELD, KEY_REUSED, KEY_EXPIRED, KEY_AHEAD, NO_KEYS_HERE, AWAY, UNKNOWN, UNKNOWN_KEYLESS),
)

# A client's own number
OWN: Final = Case("this client's own number", answers.document({"value": 3, "version": 3}), "OwnReading")
NO_EFFECT: Final = Case("there is no such effect", problem_not_found())

# The page
HTML: Final = Case("the page", _plain("text/html"), "Text")
SEEN_OTHER: Final = Case("the page, next, says what became of it", Answer(303, (("location", "/"),), b""))
ACTION: Final = Case(
    "the form's field action is missing or unknown",
    problem(422, "The form's field action must be one of increment, decrement, reset.", kind="field"),
)

# Operation
ALIVE: Final = Case("this worker answers", answers.document({"status": "ok"}), "Health")
NOT_READY: Final = Case(
    "its store does not answer",
    problem(
        503,
        "Redis at 127.0.0.1:6379 did not answer within 1 s.",
        kind="not-ready",
        ready=False,
        mode="redis",
    ),
    "NotReady",
)
METRICS: Final = Case(
    "the sum over all workers",
    _plain("text/plain; version=0.0.4", b'quart_counter_changes_total{outcome="applied"} 42\n'),
    "Text",
)
DOCUMENT: Final = Case("this document", _plain("application/json"), "Document")


def ready(guarantees: dict[str, Any]) -> Case:
    """A worker whose store answers."""
    return Case(
        "its store answers too, and this is what it promises",
        answers.document({"ready": True, "mode": "lock", "guarantees": guarantees}),
        "Readiness",
    )


def done(value: int) -> tuple[Case, Case]:
    """A change that led to `value`, and its repeat."""
    change, first = Change("tickets"), Applied(value, 42)
    return (
        Case("it did, and these are the value and version that it made", answers.outcome(change, first), "Reading"),
        Case(
            "this key was sent before: its first answer again, and nothing more was counted",
            answers.outcome(change, first._replace(replayed=True)),
            "Reading",
        ),
    )
