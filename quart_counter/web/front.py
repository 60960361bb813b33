"""The door in front of the app: turns away what HTTP servers let through and applications should never see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from quart_counter.model import Change, OutcomeUnknown
from quart_counter.web import hosts, parse
from quart_counter.web.answers import Answer, Problem, outcome, problem
from quart_counter.web.scope import raw_path

MAX_HEADERS: Final = 16 * 1024  # Hypercorn's own limit is soft: 20 KB pass it
MAX_TARGET: Final = 8 * 1024  # what RFC 9112 (3) asks servers to take

_LABEL: Final = rb"[A-Za-z0-9_-]{1,63}"
ABSOLUTE: Final = re.compile(rb"https?://[^/]+(/.*)?", re.IGNORECASE | re.DOTALL)  # RFC 9112, 3.2.2
HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|%b(\.%b)*\.?)?(:[0-9]{0,5})?" % (_LABEL, _LABEL))  # RFC 9110, 7.2


class Front:
    """ASGI middleware. `any_host` unless the service may answer to names that lead nowhere else alone; see `hosts`."""

    def __init__(self, app: Any, *, any_host: bool) -> None:
        self._app, self._any_host = app, any_host

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that must not go further, or pass it on."""
        if scope["type"] == "websocket":  # Quart would hand it to routes and error handlers that are for requests
            return await send({"type": "websocket.close"})  # type: ignore[no-any-return]
        if scope["type"] != "http":
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        refusal = _refusal(scope, self._any_host)
        if refusal is not None:
            return await send_answer(send, refusal)
        if not scope.get("raw_path", b"/").startswith((b"/", b"*")):
            scope = _in_origin_form(scope)
        await self._app(scope, receive, send)


def _in_origin_form(scope: Any) -> Any:
    """Return the scope without the host in its target: whoever comes after us is to see one and the same path."""
    path = raw_path(scope)
    return {**scope, "raw_path": path, "path": unquote(path)}


def _refusal(scope: Any, any_host: bool) -> Answer | None:
    size, words, coding, host = 0, [], b"chunked", b""
    for word, value in scope["headers"]:
        size += len(word) + len(value)
        words.append(word)
        if word == b"host":
            host = value
        elif word == b"transfer-encoding":
            coding = value
    if b"content-length" in words and b"transfer-encoding" in words:
        # Two lengths let a second request be smuggled past a proxy (RFC 9112, 6.1).
        return _closing(400, "Send Content-Length or Transfer-Encoding, not both.")
    if coding.lower() != b"chunked" or words.count(b"transfer-encoding") > 1:
        return _closing(501, "The only Transfer-Encoding that is known here is chunked.")
    if words.count(b"host") not in _HOSTS.get(scope["http_version"], (0, 1)) or not _is_host(host):
        return _closing(400, "Send one Host: a name or an address, and a port.")
    if not any_host and not hosts.leads_here(host):
        return hosts.misdirected()
    if scope["http_version"] >= "2" and scope["scheme"] == "http":
        return _closing(400, "HTTP/2 without TLS is not served here; use HTTP/1.1.")
    if size > MAX_HEADERS:
        return _closing(431, f"The headers are larger than {MAX_HEADERS} bytes.")
    path = b"/" if scope.get("raw_path") is None else scope["raw_path"]
    if not (path.startswith(b"/") or ABSOLUTE.fullmatch(path) or (path == b"*" and scope["method"] == "OPTIONS")):
        return _closing(400, "The target must be a path, or http:// with a host and a path.")
    if len(path) + len(scope["query_string"]) > MAX_TARGET:
        return _closing(414, f"Path and query are longer than {MAX_TARGET} bytes.")
    return None


_HOSTS: Final = {"1.1": (1,), "0.9": ()}  # how many there must be, in other versions one or none; 0.9 is not spoken


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    return HOST.fullmatch(value) is not None


def _closing(status: int, detail: str) -> Answer:
    return problem(status, detail, headers=(("connection", "close"),))


def cut_off(scope: Any) -> Answer:
    """Answer a request that did not end in time when the service stopped."""
    try:
        key = parse.key(scope["headers"])
    except Problem:
        key = None
    return outcome(Change("", key=key), OutcomeUnknown("The service stopped before this was done"))


async def send_answer(send: Any, answer: Answer) -> None:
    """Send an answer without the app."""
    headers = _encoded(tuple(answer.headers), len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


@lru_cache(maxsize=256)  # nearly all answers have the same few
def _encoded(headers: tuple[tuple[str, str], ...], length: int) -> Sequence[tuple[bytes, bytes]]:
    first, *others = [(word.encode(), value.encode()) for word, value in headers]
    return (first, (b"content-length", b"%d" % length), *others)  # in Quart's order
