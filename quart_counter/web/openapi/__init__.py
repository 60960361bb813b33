"""`/openapi.json`: the HTTP interface as an OpenAPI 3.1 document, built from the constants that the code uses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Final

from quart import Blueprint, Response

from quart_counter.access.rates import Rate
from quart_counter.web import access, answers, front, limits
from quart_counter.web.api import problem_not_found, to_response
from quart_counter.web.openapi import cases
from quart_counter.web.openapi.cases import Case
from quart_counter.web.openapi.routes import TAGS, Route, routes
from quart_counter.web.openapi.schemas import SCHEMAS, parameters

Document = dict[str, Any]

HEADERS: Final = {
    "etag": ("ETag", "the version, in quotes; for If-Match"),
    "idempotency-replayed": ("Idempotency-Replayed", "true on the answer to a repeat of a key"),
    "retry-after": ("Retry-After", "seconds to wait before sending it again"),
    "allow": ("Allow", "the methods that the path has"),
    "location": ("Location", "where to go next"),
    "ratelimit": ("RateLimit", "what is left of the limit, and in how many seconds there is more"),
    "ratelimit-policy": ("RateLimit-Policy", "the limit: so many in so many seconds"),
    "www-authenticate": ("WWW-Authenticate", "how to say who you are"),
}

OUTCOMES: Final = (
    ("applied", "200", "It did. The answer carries the new value and version.", "no need"),
    ("refused", "409, 412, 422", "A rule said no: a bound, the cap, the version, a key used before.", "by decision"),
    (
        "bad input",
        "400, 403, 408, 413, 414, 415, 421, 422, 431, 501",
        "Turned away before any effect.",
        "after mending",
    ),
    ("no right", "401, 403", "No token that is in force, or one for other things.", "with another token"),
    ("not applied", "429, 503", "It did not happen and will not.", "yes, it is safe; after Retry-After"),
    ("unknown", "504", "It may have happened.", "only with the same key"),
)


def document(version: str, *, key_life_s: float, body_timeout_s: float, guarded: bool = False) -> Document:
    """Return the document; the same for every request. `guarded`: tokens are in force."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "quart-counter",
            "version": version,
            "summary": "Every request gets its own number.",
            "description": (
                "Counters over HTTP. Every change is atomic, and its answer comes from inside the step that had the "
                "effect. HEAD answers as GET does, without a body; OPTIONS answers with Allow. Nothing has an effect "
                "before all of a request is checked. Every error is a problem document (RFC 9457) that says what to do."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": _paths(routes(cases.slow(body_timeout_s)), guarded),
        "components": {
            "schemas": SCHEMAS,
            "parameters": parameters(key_life_s),
            "responses": _anywhere(),
            "securitySchemes": SECURITY,
        },
        "x-outcomes": [
            dict(zip(("outcome", "status", "meaning", "again"), outcome, strict=True)) for outcome in OUTCOMES
        ],
    }


TOO_FAST: Final = limits.Policy("client", "192.0.2.1", Rate(100, 1))
SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A token, where the service was given any."},
    "basic": {"type": "http", "scheme": "basic", "description": "The same token as a password, for browsers."},
}


def _paths(all_routes: Sequence[Route], guarded: bool) -> Document:
    paths: dict[str, Document] = {}
    for route in all_routes:
        operation = paths.setdefault(route.path, {})[route.method] = _operation(route)
        if guarded:
            operation["security"] = _security(route)
    return paths


def _security(route: Route) -> list[dict[str, list[str]]]:
    path = route.path.replace("{name}", "tickets").replace("{effect}", "increment")
    need = access.need_of(route.method.upper(), path.encode())
    return [] if need is access.OPEN else [{scheme: [*need.scopes]} for scheme in SECURITY]


def _operation(route: Route) -> Document:
    first = route.path.split("/")[1]
    operation: Document = {
        "tags": [first if first in TAGS else "page" if not first else "operation"],
        "summary": route.summary,
        "operationId": "-".join([route.method, *route.path.replace("{", "").replace("}", "").split("/")]).strip("-"),
        "responses": _responses(route.cases),
    }
    if route.about:
        operation["description"] = route.about
    if route.parameters:
        operation["parameters"] = [{"$ref": f"#/components/parameters/{one}"} for one in route.parameters]
    if route.body:
        media = "application/x-www-form-urlencoded" if route.body == "Form" else "application/json"
        examples = {f"example-{place}": {"value": body} for place, body in enumerate(route.bodies, 1)}
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {media: {"schema": _ref(route.body), "examples": examples}},
        }
    return operation


def _responses(all_cases: Sequence[Case]) -> Document:
    by_status = sorted(all_cases, key=lambda case: case.answer.status)
    return {
        str(status): _response(status, list(group))
        for status, group in groupby(by_status, key=lambda case: case.answer.status)
    }


def _response(status: int, group: Sequence[Case]) -> Document:
    response: Document = {"description": "; or ".join(case.when for case in group) + "."}
    headers = {word for case in group for word, _ in case.answer.headers if word in HEADERS}
    if headers:
        response["headers"] = {
            HEADERS[word][0]: {"description": HEADERS[word][1], "schema": {"type": "string"}}
            for word in sorted(headers)
        }
    content = [case for case in group if case.answer.body or case.schema in ("Text", "Document")]
    if content:
        media = dict(content[0].answer.headers)["content-type"]
        response["content"] = {media: {"schema": _schema(status, content), **_examples(content)}}
    return response


def _schema(status: int, group: Sequence[Case]) -> Document:
    refs = [_ref(schema) for schema in dict.fromkeys(case.schema for case in group)]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    if status < 400:
        return schema
    types = sorted({json.loads(case.answer.body)["type"] for case in group})
    return {**schema, "properties": {"type": {"enum": types}, "status": {"const": status}}}


def _examples(group: Sequence[Case]) -> Document:
    examples: Document = {}
    for case in group:
        if case.answer.body and case.schema != "Text":
            examples.setdefault(
                f"example-{len(examples) + 1}", {"summary": case.when, "value": json.loads(case.answer.body)}
            )
    return {"examples": examples} if examples else {}


def _ref(schema: str) -> Document:
    return {"$ref": f"#/components/schemas/{schema}"}


def _anywhere() -> Document:
    """What any path may answer and no operation can, so that no operation lists it."""
    allow = answers.problem(405, "PATCH is not for this path; use POST.", headers=(("allow", "POST, OPTIONS"),))
    return {
        "Stranger": _alone(401, [Case("tokens are in force, and none of them was sent", access.unknown(b"/counters"))]),
        "Forbidden": _alone(
            403, [Case("the token is for other things, or for other names", access.forbidden(access.ADMIN))]
        ),
        "NotFound": _alone(404, [Case("there is nothing at this path", problem_not_found())]),
        "TooLong": _alone(414, [cases.TARGET]),
        "Misdirected": _alone(421, [cases.MISDIRECTED]),
        "NotImplemented": _alone(501, [cases.CODING]),
        "MethodNotAllowed": _alone(405, [Case("the path does not have this method", allow)]),
        "TooMany": _alone(
            429,
            [
                Case("the client is faster than its limit", limits.too_many(TOO_FAST, 0.4), "NotApplied"),
                Case("there are as many counters as may be", answers.names_full(1000), "NotApplied"),
            ],
        ),
        "Busy": _alone(503, [Case("more is under way than may be", limits.busy(256), "NotApplied")]),
        "CutOff": _alone(
            504, [Case("the service stopped before it was done", front.cut_off({"headers": ()}), "OutcomeUnknown")]
        ),
        "Bug": _alone(500, [Case("a bug in the service; please report it", answers.bug())]),
    }


def _alone(status: int, group: Sequence[Case]) -> Document:
    return {**_response(status, group), "x-status": status}


def blueprint(described: Document) -> Blueprint:
    """Return /openapi.json."""
    routes = Blueprint("openapi", __name__)
    answer = answers.document(described)

    @routes.get("/openapi.json")
    async def openapi() -> Response:
        return to_response(answer)

    return routes
