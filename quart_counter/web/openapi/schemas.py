"""The shapes of what is sent and answered, and the parameters; every number here is the code's own constant."""

from __future__ import annotations

from typing import Any, Final, get_args

from quart_counter.model import KEY, MAX_BY, MAX_VALUE, NAME
from quart_counter.stores.base import Durability, Scope
from quart_counter.web.listing import PAGE_LIMIT
from quart_counter.web.page import ACTIONS
from quart_counter.web.session import EFFECTS

Schema = dict[str, Any]


def _object(about: str, properties: dict[str, Schema], required: tuple[str, ...] | None = None) -> Schema:
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        "required": list(properties) if required is None else list(required),
    }


def _sent(about: str, properties: dict[str, Schema], required: tuple[str, ...] = (), **rules: Any) -> Schema:
    """A body: unlike an answer, which may grow, it has no other fields."""
    body = _object(about, properties, required)
    return {**{word: rule for word, rule in body.items() if rule != []}, "additionalProperties": False, **rules}


def _problem(about: str, **more: Schema) -> Schema:
    return _object(about, {**_PROBLEM, **more})


_NAME: Final = {"type": "string", "pattern": f"^{NAME.pattern}$", "maxLength": 64, "examples": ["tickets"]}
_VALUE: Final = {"type": "integer", "minimum": -MAX_VALUE, "maximum": MAX_VALUE}
_VERSION: Final = {"type": "integer", "minimum": 0, "description": "Every change raises it by exactly 1."}
_BY: Final = {"type": "integer", "minimum": -MAX_BY, "maximum": MAX_BY, "not": {"const": 0}, "default": 1}
_READING: Final[dict[str, Schema]] = {"name": _NAME, "value": _VALUE, "version": _VERSION}
_TEXT: Final = {"type": "string"}
_PROBLEM: Final[dict[str, Schema]] = {
    "type": {"type": "string", "pattern": "^urn:quart-counter:[a-z-]+$", "description": "Names it, for programs."},
    "title": _TEXT,
    "status": {"type": "integer"},
    "detail": {"type": "string", "description": "What is wrong with this very request, and what to do about it."},
}
_GUARANTEES: Final = _object(
    "What the store promises as it is configured now.",
    {
        "scope": {"enum": [*get_args(Scope)], "description": "Who shares a number."},
        "atomic": {"type": "boolean", "description": "Two changes at once count as two."},
        "durable": {
            "enum": [*get_args(Durability)],
            "description": "The worst event that an answered change survives.",
        },
        "exactly_once": {"type": "boolean", "description": "A lost reply costs a retry, not a count."},
        "versioned": {"type": "boolean"},
        "gapless": {"type": "boolean"},
        "notes": {"type": "array", "items": _TEXT},
        "server": {"type": "string", "description": "What keeps the numbers, as it names itself; may be empty."},
    },
)

SCHEMAS: Final[dict[str, Schema]] = {
    "Reading": _object("A counter's value and version, of one moment.", _READING),
    "OwnReading": _object("The value and version of this client's own number.", {"value": _VALUE, "version": _VERSION}),
    "Page": _object(
        "Some of the counters.",
        {
            "counters": {"type": "array", "items": {"$ref": "#/components/schemas/Reading"}, "maxItems": PAGE_LIMIT},
            "next": {"type": ["string", "null"], "description": "`after` of the next page; null on the last one."},
        },
    ),
    "Increment": _sent("How much to add; nothing at all adds 1.", {"by": _BY}),
    "Take": _sent(
        "How much to add, and the value not to pass.",
        {"by": _BY, "limit": _VALUE, "floor": _VALUE},
        oneOf=[
            {
                "title": "counting up to a limit",
                "required": ["limit"],
                "not": {"required": ["floor"]},
                "properties": {"by": {"minimum": 1}},
            },
            {
                "title": "counting down to a floor",
                "required": ["by", "floor"],
                "not": {"required": ["limit"]},
                "properties": {"by": {"maximum": -1}},
            },
        ],
    ),
    "Set": _sent("The value to set.", {"value": _VALUE}, ("value",)),
    "Form": _object("What the page's buttons send.", {"action": {"enum": [*ACTIONS]}}),
    "Problem": _problem("A problem document (RFC 9457). Nothing was changed."),
    "Refusal": _problem("Refused by rule, with the reading that the rule saw. Nothing was changed.", **_READING),
    "NotApplied": _problem("It did not happen and will not; sending it again is safe.", applied={"const": "no"}),
    "OutcomeUnknown": _problem(
        "It may have happened.",
        applied={"const": "unknown"},
        key={"type": ["string", "null"], "description": "The key it was sent with; null if it had none."},
    ),
    "Health": _object("Alive.", {"status": {"const": "ok"}}),
    "Readiness": _object("Ready.", {"ready": {"const": True}, "mode": _TEXT, "guarantees": _GUARANTEES}),
    "NotReady": _problem("Not ready.", ready={"const": False}, mode=_TEXT),
    "Text": _TEXT,
    "Document": {"type": "object", "description": "An OpenAPI 3.1 document.", "required": ["openapi", "info", "paths"]},
}


def parameters(key_life_s: float) -> dict[str, Schema]:
    """Return the parameters of all routes; a key is remembered for at least `key_life_s`."""
    return {
        "Name": {
            **{"name": "name", "in": "path", "required": True, "schema": _NAME, "example": "tickets"},
            "description": "The counter. It need not exist: a counter never touched is at 0.",
        },
        "Effect": {
            **{"name": "effect", "in": "path", "required": True, "example": "increment"},
            "description": "Add 1, subtract 1, or set to 0.",
            "schema": {"enum": [*EFFECTS]},
        },
        "IdempotencyKey": {
            **{"name": "Idempotency-Key", "in": "header", "example": "2f1d6f0c-6a1e-4d7e-9a53-0c1f6f9f7b11"},
            "description": (
                "Makes repeats of this request count once: all of them get the first one's answer. Choose a new one "
                "(a UUID, say) for each change that you might have to send again. It belongs to the counter: the same "
                f"key on another counter is another key. It is remembered for at least {span(key_life_s)}. After that "
                "the same key counts again, unless it tells its age: a UUIDv7, alone or with a dot and more after it, "
                "is refused when it is older, or more than a minute ahead of our clock. "
                "1 to 255 visible ASCII characters, bare or as a quoted string; quoted or not, it is the same key."
            ),
            "schema": {"type": "string", "pattern": KEY_HEADER},
            "x-idempotency-key-life-seconds": key_life_s,
        },
        "IfMatch": {
            **{"name": "If-Match", "in": "header", "example": '"42"'},
            "description": "The ETag of the reading that you decided by: if the counter has changed since, 412.",
            "schema": {"type": "string", "pattern": r'^(\*|(W/)?"[^"]*")$'},
        },
        "After": {
            **{"name": "after", "in": "query", "schema": {"type": "string", "pattern": f"^({NAME.pattern})?$"}},
            "description": "Names after this one: the `next` of the page before.",
        },
        "Limit": {
            **{"name": "limit", "in": "query", "description": "How many, at most."},
            "schema": {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT, "default": 100},
        },
    }


# Bare, or a string of RFC 8941 in which only the quote and the backslash are escaped.
KEY_HEADER: Final = rf'^((?!"){KEY.pattern}|"([!#-\[\]-~]|\\["\\]){{1,255}}")$'


def span(seconds: float) -> str:
    """Say a number of seconds in words."""
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {name}{'s' if seconds > size else ''}"
    return f"{seconds:g} seconds"
