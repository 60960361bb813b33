"""Who may do what: turns away who has no token for what is asked, before the app hears of it.

| asked by | answer |
|---|---|
| a stranger: no token, an unknown one, an expired one | 401, the same words for every path, be there something or not |
| a token without the scope, or not for this name | 403, whether or not anything is counted under the name |
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from quart_counter.access.tokens import Credential, Tokens
from quart_counter.web import parse
from quart_counter.web.answers import Answer, Problem, problem
from quart_counter.web.front import send_answer
from quart_counter.web.log import note
from quart_counter.web.page import COUNTER
from quart_counter.web.parse import RawHeaders
from quart_counter.web.scope import CREDENTIAL, raw_path

REALM: Final = 'realm="quart-counter"'


class Need(NamedTuple):
    """What a request needs: every one of `scopes`, and if it names a counter, a token that reaches the name."""

    scopes: tuple[str, ...]
    name: str | None = None


OPEN: Final = None  # needs no token
ANY: Final = Need(())  # any token
ADMIN: Final = Need(("admin",))


def need_of(method: str, path: bytes) -> Need | None:
    """Return what a request for the raw `path` needs. What is not placed here is the admins' alone."""
    method = "GET" if method == "HEAD" else method
    match path.split(b"/")[1:]:
        case [b"healthz" | b"readyz" | b"openapi.json" | b"docs"] | [b"static", _]:
            return OPEN
        case _ if method == "OPTIONS":
            return ANY
        case [b""]:
            return _PAGE.get(method, ADMIN)
        case [b"events"]:  # the same number, live
            return _EVENTS.get(method, ADMIN)
        case [b"counters"]:
            return _COUNTERS.get(method, ADMIN)
        case [b"counters", segment]:
            return _named(_COUNTER.get(method, ADMIN), segment)
        case [b"counters", segment, b"increment" | b"take"]:
            return _named(_EFFECT.get(method, ADMIN), segment)
        case [b"session"]:
            return _OWN.get(method, ADMIN)
        case [b"session", b"increment" | b"decrement" | b"reset"]:
            return _EFFECT.get(method, ADMIN)
    return ADMIN


_READ: Final = Need(("read",))
_EFFECT: Final = {"POST": Need(("increment",))}
_COUNTERS: Final = {"GET": _READ}  # and the listing shows each token its own names
_COUNTER: Final = {"GET": _READ, "PUT": Need(("set",)), "DELETE": Need(("set",))}
_PAGE: Final = {"GET": Need(("read",), COUNTER), "POST": Need(("increment", "set"), COUNTER)}  # it has a reset button
_EVENTS: Final = {"GET": Need(("read",), COUNTER)}
_OWN: Final = {"GET": _READ}  # a client's own number has no name that a prefix could be for


def _named(need: Need, segment: bytes) -> Need:
    try:
        return need._replace(name=parse.name(segment))
    except Problem:
        return need  # no counter can have this name, and the app says so


class Known:
    """ASGI middleware: finds out whose request it is, for all that come behind."""

    def __init__(self, app: Any, tokens: Tokens) -> None:
        self._app, self._tokens = app, tokens

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on with its credential, or with None for a stranger."""
        if scope["type"] in ("http", "websocket"):
            credential = credential_of(scope["headers"], self._tokens.find)
            if credential is not None:
                note(scope, id=credential.id)
            scope = {**scope, CREDENTIAL: credential}
        await self._app(scope, receive, send)


class Access:
    """ASGI middleware: turns away, behind `Known` and behind the limits, which are for strangers too."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that has no right to what it asks for; pass the others on."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        path = raw_path(scope)
        answer = refusal(scope.get("method", "GET"), path, scope[CREDENTIAL])
        if answer is None:
            return await self._app(_as_judged(scope, path), receive, send)  # type: ignore[no-any-return]
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close"})  # type: ignore[no-any-return]
        await send_answer(send, answer)


def _as_judged(scope: Any, path: bytes) -> Any:
    """Return the scope with the path that was judged: the app is to see no other."""
    if scope.get("raw_path", b"/").startswith(b"/"):
        return scope
    return {**scope, "raw_path": path, "path": unquote(path)}


def credential_of(headers: RawHeaders, find: Callable[[str], Credential | None]) -> Credential | None:
    """Return the credential that the headers carry: a Bearer token, or the same as a password, for browsers."""
    values = [value for word, value in headers if word.lower() == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, word = values[0].decode("latin-1").partition(" ")
    match scheme.lower():
        case "bearer":
            return find(word.strip(" "))
        case "basic":
            return find(_password(word.strip(" ")))
    return None


def _password(word: str) -> str:
    try:
        return base64.b64decode(word, validate=True).partition(b":")[2].decode("latin-1")
    except (binascii.Error, ValueError):
        return ""


def refusal(method: str, path: bytes, credential: Credential | None) -> Answer | None:
    """Return the answer to a request that must not go further, or None."""
    need = need_of(method, path)
    if need is OPEN:
        return None
    if credential is None:
        return unknown(path)
    if all(map(credential.has, need.scopes)) and (need.name is None or credential.reaches(need.name)):
        return None
    return forbidden(need)


def unknown(path: bytes) -> Answer:
    """Answer a stranger. A browser asks for a password, and is given a token, for the page alone."""
    challenges = [("www-authenticate", f"Bearer {REALM}")]
    if path == b"/":
        challenges.append(("www-authenticate", f'Basic {REALM}, charset="UTF-8"'))
    return problem(401, "Send a token that is in force: Authorization: Bearer and the token.", headers=challenges)


def forbidden(need: Need) -> Answer:
    """Answer a client that is known, and may do other things."""
    where = "" if need.name is None else ", for this name"
    return problem(403, f"This needs a token with scope {' and '.join(need.scopes)}{where}.", kind="scope")
