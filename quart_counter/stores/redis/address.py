"""What a Redis URL says, for all its forms: one server, a cluster's nodes, or the Sentinels that know the primary.

    redis://USER:PASSWORD@HOST:PORT/DB                      rediss: with TLS; unix://PATH a socket
    redis+cluster://HOST:PORT,HOST:PORT                     some nodes; the others are asked for
    redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB         the Sentinels, and the name they know the primary by

Pure text: nobody is asked here.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from quart_counter.errors import ConfigurationError

Place: TypeAlias = tuple[str, int]

WAIT_REPLICAS: Final = "wait_replicas"
SENTINEL_LOGIN: Final = ("sentinel_username", "sentinel_password")
URL_OPTIONS: Final = {
    *("db", "client_name", "health_check_interval", "socket_keepalive"),
    *("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"),
    *(WAIT_REPLICAS, *SENTINEL_LOGIN),
}


class Address(NamedTuple):
    """A URL with several hosts, taken apart. `login` is what stands before the hosts, with its @."""

    tls: bool
    login: str
    hosts: tuple[Place, ...]
    path: tuple[str, ...]
    query: str

    def server(self, place: Place, db: str = "0") -> str:
        """Return the URL of one server of it."""
        host = f"[{place[0]}]" if ":" in place[0] else place[0]
        query = f"?{self.query}" if self.query else ""
        return f"{'rediss' if self.tls else 'redis'}://{self.login}{host}:{place[1]}/{db}{query}"


def several(url: str, default_port: int) -> Address:
    """Take a URL with several hosts apart. Raises ValueError; its words may repeat a piece of the password."""
    parts = urlsplit(url)
    login, at, hosts = parts.netloc.rpartition("@")
    if "@" in parts.path + parts.query or not hosts:
        raise ValueError("no hosts, or a password cut off")
    path = tuple(piece for piece in parts.path.split("/") if piece)
    places = tuple(_place(host, default_port) for host in hosts.split(","))
    return Address(parts.scheme.startswith("rediss"), login + at, places, path, parts.query)


def _place(host: str, default_port: int) -> Place:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("an empty host")
    return parts.hostname, parts.port or default_port


def check_options(url: str) -> None:
    """Raise ConfigurationError for an option that would beat ours: redis-py lets the URL win over its arguments."""
    for option, value in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if option not in URL_OPTIONS:
            raise ConfigurationError(
                f"the Redis URL has the option {option!r}: there are {', '.join(sorted(URL_OPTIONS))}"
            )
        if option == WAIT_REPLICAS and not value.isdecimal():
            raise ConfigurationError(f"{WAIT_REPLICAS} in the Redis URL is no whole number: give how many replicas")


def wait_replicas(url: str) -> int:
    """Return how many replicas have to have a change before it is answered; 0 if the URL does not say."""
    return int(dict(parse_qsl(urlsplit(url).query)).get(WAIT_REPLICAS, 0))


def for_driver(url: str) -> str:
    """Return `url` without the options that are ours and not redis-py's."""
    parts = urlsplit(url)
    ours = {WAIT_REPLICAS, *SENTINEL_LOGIN}
    options = [(name, value) for name, value in parse_qsl(parts.query, keep_blank_values=True) if name not in ours]
    head = url.partition("?")[0]
    return f"{head}?{urlencode(options)}" if options else head
