"""What a client is, whether on a socket or inside: one request at a time, in two steps."""

from __future__ import annotations

from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from typing import Protocol

from quart_counter.lab.foreign.answers import Answer
from quart_counter.lab.foreign.target import Header


class NotSent(Exception):
    """The request did not reach the server as a whole: it had no effect, and will have none."""


class Lost(Exception):
    """The request went out and no whole answer came back: nobody knows what became of it."""


class Client(Protocol):
    """Who sends one request at a time, in two steps."""

    async def ready(self, *, last: bool) -> bool:
        """Get everything across but the end, `last` being the client's last request; True on a new connection.

        Raises: NotSent.
        """

    def go(self) -> None:
        """Let the end go."""

    async def answer(self) -> Answer:
        """Wait for the whole answer. Raises: Lost, or NotSent if the connection broke before the end was let go."""

    def hang_up(self) -> None:
        """Close the connection, whatever is on it; the next request makes another."""

    async def aclose(self) -> None:
        """Close for good."""


class Cookies:
    """What a browser would send back: the last value of each name, whatever its path. Ends are kept, dates are not."""

    def __init__(self) -> None:
        self._jar: dict[str, str] = {}

    def take(self, answer: Answer) -> None:
        """Remember the cookies of an answer."""
        for line in (value for name, value in answer.headers if name == "set-cookie"):
            with suppress(CookieError):
                for name, morsel in SimpleCookie(line).items():
                    self._jar[name] = morsel.coded_value
                    if morsel["max-age"].startswith(("0", "-")):
                        del self._jar[name]

    def headers(self) -> list[Header]:
        """Return the Cookie header, if there is anything to say."""
        return [("Cookie", "; ".join(f"{name}={value}" for name, value in self._jar.items()))] if self._jar else []
