"""What goes back to a client: an `Answer`, and the problem documents (RFC 9457) that say what to do."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from quart_counter.counters import explain
from quart_counter.errors import StoreAway
from quart_counter.model import Applied, Change, NotApplied, Outcome, OutcomeUnknown, Refused
from quart_counter.web.withheld import Withheld

Headers = Sequence[tuple[str, str]]

JSON: Final = (("content-type", "application/json"), ("cache-control", "no-store"))
PROBLEM: Final = (("content-type", "application/problem+json"), ("cache-control", "no-store"))
REPLAYED: Final = ("idempotency-replayed", "true")
RETRY_AFTER_S: Final = 1
WITHHELD: Final = Withheld(logging.getLogger(__name__))
NAMES_RETRY_S: Final = 60  # places get free by the hand of somebody who operates the service

_STATUS_OF_REFUSAL: Final = {"bound": 409, "cap": 409, "version": 412, "key_reused": 422}

_RENAMED: Final = {413: "Content Too Large", 414: "URI Too Long", 422: "Unprocessable Content"}


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    headers: Headers
    body: bytes


class Problem(Exception):
    """A request that is answered with a problem document, before any effect."""

    def __init__(self, status: int, detail: str, *, kind: str = "", headers: Headers = (), **extra: Any) -> None:
        super().__init__(detail)
        self.answer = problem(status, detail, kind=kind, headers=headers, **extra)


def document(content: Mapping[str, Any], headers: Headers = ()) -> Answer:
    """Answer 200 with `content` as JSON."""
    return Answer(200, (*JSON, *headers), json.dumps(content).encode())


def problem(status: int, detail: str, *, kind: str = "", headers: Headers = (), **extra: Any) -> Answer:
    """Answer `status` with a problem document; `kind` names it for programs, `extra` are further members."""
    title = phrase(status)
    word = kind or title.lower().replace(" ", "-")
    content = {"type": f"urn:quart-counter:{word}", "title": title, "status": status, "detail": detail, **extra}
    return Answer(status, (*PROBLEM, *headers), json.dumps(content).encode())


def reading(name: str, value: int, version: int, headers: Headers = ()) -> Answer:
    """Answer 200 with a counter's name, value and version."""
    # Written by hand: the name's characters need no escape, and this is the hot path.
    headers = (*JSON, *headers) if headers else JSON
    return Answer(200, headers, b'{"name":"%b","value":%d,"version":%d}' % (name.encode(), value, version))


def phrase(status: int) -> str:
    """Return a status in words; those of RFC 9110 with every Python (before 3.13 it had older ones)."""
    return _RENAMED.get(status) or HTTPStatus(status).phrase


def outcome(change: Change, result: Outcome) -> Answer:
    """Tell a client what became of its change: the table of outcomes, once."""
    match result:
        case Applied(value, version, replayed):
            return reading(change.name, value, version, (REPLAYED,) if replayed else ())
        case Refused(reason, value, version, replayed):
            return problem(
                _STATUS_OF_REFUSAL[reason],
                explain(change, result),
                kind=reason.replace("_", "-"),
                headers=(REPLAYED,) if replayed else (),
                name=change.name,
                value=value,
                version=version,
            )
        case NotApplied():
            return away(told(change, result))
        case OutcomeUnknown():
            return problem(504, told(change, result), kind="outcome-unknown", applied="unknown", key=change.key)


def told(change: Change, result: Refused | NotApplied | OutcomeUnknown) -> str:
    """Say in a sentence what became of `change`, without what is nobody's business."""
    if not isinstance(result, Refused):
        result = result._replace(because=WITHHELD.shown(result.because))
    return explain(change, result)


def away(detail: str) -> Answer:
    """Answer that nothing happened and that it is safe to try again."""
    return problem(503, detail, kind="not-applied", headers=(("retry-after", str(RETRY_AFTER_S)),), applied="no")


def store_away(error: StoreAway) -> Answer:
    """Answer that the store does not answer; nothing was asked of it that would change anything."""
    return away(f"{WITHHELD.shown(str(error))}. Try again.")


def too_slow(limit_s: float) -> Answer:
    """Answer that the body did not come in time."""
    return problem(408, f"The body did not arrive within {limit_s:g} seconds.")


def bug() -> Answer:
    """Answer that we are at fault."""
    return problem(500, "A bug in the service; its log says more.")


def too_much(detail: str, *, kind: str, wait_s: int, policy: str, left: str) -> Answer:
    """Answer that a limit was reached and nothing happened, in the words of draft-ietf-httpapi-ratelimit-headers-10."""
    headers = (("retry-after", str(wait_s)), ("ratelimit-policy", policy), ("ratelimit", left))
    return problem(429, detail, kind=kind, headers=headers, applied="no")


def names_full(places: int) -> Answer:
    """Answer that there is no place for another counter; those that there are go on counting."""
    return too_much(
        f"There are {places} counters already, as many as may be; this name would be one more. Nothing was changed.",
        kind="names-full",
        wait_s=NAMES_RETRY_S,
        policy=f'"names";q={places}',
        left='"names";r=0',
    )
