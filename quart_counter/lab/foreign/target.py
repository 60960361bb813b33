"""What is called: one request, where it goes, and whether it may go there."""

from __future__ import annotations

import base64
import ipaddress
import json
import socket
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from quart_counter.errors import ConfigurationError

PORTS: Final = {"http": 80, "https": 443}
TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RFC 9110
UNESCAPED: Final = "%/:=&?~#+!$,;'@()*[]"

Header = tuple[str, str]


class Request(NamedTuple):
    """What every client sends."""

    method: str
    path: str
    headers: tuple[Header, ...] = ()
    body: bytes = b""


class Place(NamedTuple):
    """An address that a name stood for when it was looked up, once for all clients."""

    family: socket.AddressFamily
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether it is this machine and nobody else; 0.0.0.0 and :: are how servers say so."""
        address = ipaddress.ip_address(self.host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        return bool(mapped.is_loopback or mapped.is_unspecified)


@dataclass(frozen=True)
class Target:
    """A request and the server it is for. `places`: all addresses of the server, the likeliest first."""

    url: str
    request: Request
    host: str
    tls: bool
    places: tuple[Place, ...] = field(repr=False)

    @property
    def trusted(self) -> bool:
        """Whether nothing lies between us and the server, so that a certificate has nothing to prove."""
        return all(place.loopback for place in self.places)


def aim(url: str, request: Request, owned: Collection[str] = ()) -> Target:
    """Return the server behind a URL, with the request that it gets. Raises: ConfigurationError.

    Only this machine and the hosts that somebody says they own are raced: a hundred requests at once are an attack.
    """
    parts = _split(url)
    host = parts.hostname or ""
    places = _resolve(host, parts.port or PORTS[parts.scheme])
    if host.lower() not in {name.lower().strip("[]") for name in owned} and not all(place.loopback for place in places):
        raise ConfigurationError(
            f"{host} is not this machine, and a race is an attack on what is not yours: if it is yours, say "
            f"--i-own {host}"
        )
    return Target(shown(url), request, host, parts.scheme == "https", places)


def shown(url: str) -> str:
    """Return the URL as it may be shown around: without a name and a password in it."""
    parts = _split(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def compose(url: str, method: str = "POST", headers: Iterable[Header] = (), body: bytes = b"") -> Request:
    """Return the request to a URL: what HTTP and good manners add to what is given. Raises: ConfigurationError."""
    parts = _split(url)
    if not method or not TOKEN.issuperset(method):
        raise ConfigurationError(f"{method!a} is not an HTTP method")
    path = quote(parts.path or "/", safe=UNESCAPED) + (f"?{quote(parts.query, safe=UNESCAPED)}" if parts.query else "")
    given = [_checked(name, value) for name, value in headers]
    names = {name.lower() for name, _ in given}
    missing = [(name, value) for name, value in _implied(parts, method, body) if name.lower() not in names]
    return Request(method, path, (*missing, *given), body)


def header(line: str) -> Header:
    """Return the header that a line gives. Raises: ConfigurationError."""
    name, colon, value = line.partition(":")
    if not colon:
        raise ConfigurationError(f"{line!a} is not a header: write --header 'Name: value'")
    return _checked(name.strip(), value.strip())


def body_of(given: str) -> bytes:
    """Return the body that the text is, or with @FILE the file's. Raises: ConfigurationError."""
    if not given.startswith("@"):
        return given.encode()
    try:
        return Path(given[1:]).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the body cannot be read from {given[1:]} ({error.strerror or error})") from None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError as error:  # a port that is no number, a bracket that is not closed
        raise ConfigurationError(f"{url!a} is not a URL ({error})") from None
    if not usable:
        raise ConfigurationError(
            f"{url!a} is not a URL that can be raced: it begins with http:// or https:// and a host"
        )
    return parts


def _resolve(host: str, port: int) -> tuple[Place, ...]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"nobody knows a host {host!a} ({error})") from None
    return tuple(Place(family, str(address[0]), int(address[1])) for family, _, _, _, address in found)


def _checked(name: str, value: str) -> Header:
    if not name or not TOKEN.issuperset(name) or not value.isprintable():
        raise ConfigurationError(f"{name}: {value}".encode("ascii", "backslashreplace").decode() + " is not a header")
    if name.lower() in ("content-length", "transfer-encoding", "connection"):
        raise ConfigurationError(f"the header {name} is written by the race itself: leave it out")
    return name, value


def _implied(parts: SplitResult, method: str, body: bytes) -> Iterator[Header]:
    yield "Host", parts.netloc.rpartition("@")[2]
    yield "Accept", "*/*"
    yield "User-Agent", "quart-counter race"
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        yield "Authorization", f"Basic {base64.b64encode(secret).decode()}"
    if body:
        yield "Content-Type", _kind(body)
    if body or method not in ("GET", "HEAD", "OPTIONS", "TRACE"):
        yield "Content-Length", str(len(body))


def _kind(body: bytes) -> str:
    """Return the media type that a body looks like."""
    try:
        json.loads(body)
    except ValueError:
        return "application/x-www-form-urlencoded" if b"=" in body and not body.split()[1:] else "text/plain"
    return "application/json"
