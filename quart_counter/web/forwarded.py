"""Behind proxies: who asks, and whether over TLS, as the proxies say that were said to be there."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from quart import has_request_context, request, websocket
from quart.sessions import SecureCookieSessionInterface

from quart_counter.web.log import note
from quart_counter.web.parse import RawHeaders


class Forwarded:
    """ASGI middleware: believes X-Forwarded-For and X-Forwarded-Proto, each so many values from the right.

    A proxy appends what it saw; everything left of the values of our own proxies is the client's to make up.
    """

    def __init__(self, app: Any, proxies: int) -> None:
        self._app, self._proxies = app, proxies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on as it reached the first of our proxies."""
        if scope["type"] in ("http", "websocket"):
            scope = {**scope, **self._said(scope["headers"])}
            note(scope, client=(scope.get("client") or ("",))[0])
        await self._app(scope, receive, send)

    def _said(self, headers: RawHeaders) -> dict[str, Any]:
        client = _nth_from_the_right(headers, b"x-forwarded-for", self._proxies)
        scheme = _nth_from_the_right(headers, b"x-forwarded-proto", self._proxies).lower()
        said: dict[str, Any] = {"client": (client, 0)} if _is_address(client) else {}
        if scheme in ("http", "https"):
            said["scheme"] = scheme
        return said


def _nth_from_the_right(headers: RawHeaders, name: bytes, n: int) -> str:
    values = [one for word, value in headers if word.lower() == name for one in value.decode("latin-1").split(",")]
    return values[-n].strip() if len(values) >= n else ""


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return "%" not in word  # a zone is a word of the machine that has it, and as long as it likes


class Cookies(SecureCookieSessionInterface):
    """Sessions whose cookie is Secure when it was asked for over TLS: a browser then never sends it without."""

    def get_cookie_secure(self, app: Any) -> bool:
        """Whether the cookie is for TLS only."""
        return (request if has_request_context() else websocket).scheme in ("https", "wss")

    async def save_session(self, app: Any, session: Any, response: Any) -> None:
        """Leave the counters' answers alone: Quart 0.23 says "Vary: Cookie" of all, and no cookie changes these."""
        if not (has_request_context() and request.path.startswith("/counters")):
            await super().save_session(app, session, response)
