"""The counters' HTTP interface: one function from a request to an answer, and the few lines that let Quart call it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from quart import Blueprint, Response, request
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import PathConverter

from quart_counter.access.places import Full, Places
from quart_counter.access.tokens import Credential
from quart_counter.counters import Counters
from quart_counter.errors import InvalidChange, InvalidKey, StoreAway
from quart_counter.model import Change
from quart_counter.web import answers, listing, parse
from quart_counter.web.answers import Answer, Problem
from quart_counter.web.parse import Gathered, RawHeaders
from quart_counter.web.scope import CREDENTIAL, raw_path

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")

Effect = Callable[[str, Gathered, bytes], Change]


async def answer(
    counters: Counters,
    method: str,
    path: bytes,
    query: bytes,
    headers: RawHeaders,
    body: bytes,
    credential: Credential | None = None,
    places: Places | None = None,
) -> Answer:
    """Answer one request for `path`, raw as it came, below /counters. Nothing has an effect before all is checked.

    `credential` is whose keys and names these are, where tokens are in force; that it may do this was checked before.
    `places` says whether another counter may be begun, where that is limited.
    """

    async def change(effect: Effect, name: str) -> Answer:
        return await _change(counters, effect, name, gathered, body, credential, places)

    gathered = parse.gather(headers)

    try:
        match path.split(b"/")[1:]:
            case [b"counters"]:
                return await _by_method(method, {"GET": lambda: listing.answer(counters, query, credential)})
            case [b"counters", segment]:
                return await _counter(counters, method, parse.name(segment), change)
            case [b"counters", segment, verb] if verb in _VERBS:
                name = parse.name(segment)
                effect = _VERBS[verb]
                return await _by_method(method, {"POST": lambda: change(effect, name)})
        return problem_not_found()
    except Problem as wrong:
        return wrong.answer
    except StoreAway as away:
        return answers.store_away(away)


async def increment(
    counters: Counters,
    segment: bytes,
    headers: RawHeaders,
    body: bytes,
    credential: Credential | None = None,
    places: Places | None = None,
) -> Answer:
    """Answer an increment of the counter in a path's raw segment, as `answer` does, without looking for its route."""
    try:
        name, gathered = parse.name(segment), parse.gather(headers)
        return await _change(counters, _increment, name, gathered, body, credential, places)
    except Problem as wrong:
        return wrong.answer


async def _counter(
    counters: Counters, method: str, name: str, change: Callable[[Effect, str], Awaitable[Answer]]
) -> Answer:
    return await _by_method(
        method,
        {
            "GET": lambda: _read(counters, name),
            "PUT": lambda: change(_set, name),
            "DELETE": lambda: change(_reset, name),
        },
    )


async def _by_method(method: str, verbs: Mapping[str, Callable[[], Awaitable[Answer]]]) -> Answer:
    verb = verbs.get("GET" if method == "HEAD" else method)
    if verb is not None:
        return await verb()
    allow = ("allow", ", ".join([*verbs, *(["HEAD"] if "GET" in verbs else []), "OPTIONS"]))
    if method == "OPTIONS":
        return Answer(204, (allow,), b"")
    return answers.problem(405, f"{method} is not for this path; use {' or '.join(verbs)}.", headers=(allow,))


async def _change(
    counters: Counters,
    effect: Effect,
    name: str,
    headers: Gathered,
    body: bytes,
    credential: Credential | None,
    places: Places | None,
) -> Answer:
    parse.refuse_foreign(headers)
    try:
        change = counters.check(effect(name, headers, body))
    except InvalidChange as invalid:
        raise Problem(422, f"{invalid}.", kind="field") from None
    except InvalidKey as invalid:
        raise Problem(422, f"{invalid}.", kind=f"key-{invalid.reason}") from None
    owned = _owned(change, credential)
    outcome = await (counters.apply(owned) if places is None else places.apply(owned, credential))
    if isinstance(outcome, Full):
        return answers.names_full(outcome.places)
    return answers.outcome(change, outcome)


def _owned(change: Change, credential: Credential | None) -> Change:
    """Where there are tokens, a key is its client's own: nobody is answered with another one's record."""
    if credential is None or change.key is None:
        return change
    return change._replace(key=credential.owned(change.key))


def _increment(name: str, headers: Gathered, body: bytes) -> Change:
    return _keyed(name, headers, parse.fields(headers, body, ("by",)))


def _take(name: str, headers: Gathered, body: bytes) -> Change:
    fields = parse.fields(headers, body, ("by", "limit", "floor"))
    if ("limit" in fields) == ("floor" in fields):
        raise InvalidChange("take needs a limit (with a positive by) or a floor (with a negative by)")
    return _keyed(name, headers, fields)


def _set(name: str, headers: Gathered, body: bytes) -> Change:
    fields = parse.fields(headers, body, ("value",))
    if "value" not in fields:
        raise InvalidChange('value is missing: send {"value": 7}')
    return _keyed(name, headers, fields)


def _reset(name: str, headers: Gathered, body: bytes) -> Change:
    parse.fields(headers, body, ())
    return _keyed(name, headers, {"value": 0})


def _keyed(name: str, headers: Gathered, fields: Mapping[str, Any]) -> Change:
    for field, value in fields.items():
        if value is None:
            raise InvalidChange(f"{field} must be a whole number, not null")
    return Change(name, **fields, key=parse.key(headers), if_version=parse.if_version(headers))


_VERBS: Final[Mapping[bytes, Effect]] = {b"increment": _increment, b"take": _take}


async def _read(counters: Counters, name: str) -> Answer:
    value, version = await counters.read(name)
    return answers.reading(name, value, version, (("etag", f'"{version}"'),))


def problem_not_found() -> Answer:
    """Answer that there is nothing at this path."""
    return answers.problem(404, "There is nothing here; the interface is at /counters, described at /openapi.json.")


class _Rest(PathConverter):
    """Whatever follows, line feeds and empty segments too: names are judged here, and a wrong one is a 400."""

    regex = "(?s:.+)"
    part_isolating = False


def blueprint(counters: Counters, places: Places | None = None) -> Blueprint:
    """Return the routes below /counters."""
    routes = Blueprint("api", __name__)
    routes.record(lambda state: state.app.url_map.converters.update(rest=_Rest))

    @routes.route("/counters", methods=METHODS)
    @routes.route("/counters/<rest:rest>", methods=METHODS)
    async def counters_api(rest: str = "") -> Response:
        scope: Any = request.scope
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        return to_response(
            await answer(
                *(counters, request.method, raw_path(scope), scope["query_string"], scope["headers"], body),
                credential=scope.get(CREDENTIAL),
                places=places,
            )
        )

    @routes.app_errorhandler(MethodNotAllowed)
    async def method_not_allowed(error: MethodNotAllowed) -> Response:
        path = raw_path(request.scope)
        if path.split(b"/")[1:2] == [b"counters"]:  # a method that no route knows; what is allowed, the path decides
            return to_response(await answer(counters, request.method, path, b"", (), b""))
        allow = ", ".join(sorted(error.valid_methods or ()))
        return to_response(answers.problem(405, f"{request.method} is not for this path.", headers=(("allow", allow),)))

    return routes


def to_response(answer: Answer) -> Response:
    """Hand an answer to Quart as it is."""
    response = Response(answer.body, answer.status, content_type=None)
    for header, value in answer.headers:
        response.headers[header] = value
    if answer.status in (204, 304):
        del response.content_length  # there is no body to have one (RFC 9110, 8.6)
    return response
