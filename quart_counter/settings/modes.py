"""The modes, in one table: each a way of keeping the number, those that count right and those broken on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final, NamedTuple

from quart_counter.errors import ConfigurationError


class Mode(NamedTuple):
    """One way of keeping the number: where it lives, and what `--url` may say."""

    summary: str
    schemes: tuple[str, ...]
    default_url: str
    exhibit: bool = False  # broken on purpose, for the lab
    per_client: bool = False  # what counts is below /session: a number for each client
    in_context: bool = False  # counts on a context of Quart's, so every request has to go through Quart

    @property
    def in_worker(self) -> bool:
        """Whether each worker has its own numbers unless a URL says otherwise."""
        return self.default_url == "memory:"


_REDIS = ("redis", "rediss", "unix")
_SEVERAL_REDIS = ("redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
_SERVERS = ("postgres", "postgresql", "mysql", "mariadb", "memcached", *_REDIS, *_SEVERAL_REDIS)
_ANY = ("memory", "sqlite", "manager", "file", *_SERVERS)
_REDIS_URL = "redis://127.0.0.1:6379/0"


def check_slashes(url: str) -> None:
    """Raise ConfigurationError for redis:/host and its like, which drivers take for their own default address."""
    scheme, _, rest = url.partition(":")
    if scheme in _SERVERS and not rest.startswith("//"):
        where = "/PATH" if scheme == "unix" else "HOST:PORT"
        raise ConfigurationError(f"the URL begins with {scheme}: and no two slashes: write {scheme}://{where}")


def _global(summary: str) -> Mode:
    return Mode(f"exhibit: {summary}", ("memory",), "memory:", exhibit=True)


def _plain_redis(summary: str) -> Mode:
    return Mode(f"exhibit: {summary}", _REDIS, _REDIS_URL, exhibit=True)


MODES: Final[Mapping[str, Mode]] = {
    "lock": Mode("in this process, under an asyncio.Lock", ("memory",), "memory:"),
    "redis": Mode("in Redis, shared by all workers", (*_REDIS, *_SEVERAL_REDIS), _REDIS_URL),
    "sqlite": Mode("in a SQLite file, shared by the workers of this host", ("sqlite",), "sqlite:counters.db"),
    "postgres": Mode(
        "in PostgreSQL, shared by all workers",
        ("postgres", "postgresql"),
        "postgresql://postgres@127.0.0.1:5432/postgres",
    ),
    "mysql": Mode(
        "in MySQL or MariaDB, shared by all workers",
        ("mysql", "mariadb"),
        "mysql://root@127.0.0.1:3306/quart_counter",
    ),
    "memcached": Mode("in memcached, shared by all workers", ("memcached",), "memcached://127.0.0.1:11211"),
    "manager": Mode("in a multiprocessing manager that the workers share", ("manager",), "manager:"),
    "file": Mode("in one file a counter, shared by the workers of this host", ("file",), "file:counters"),
    "session": Mode(
        "a number for each client, in any store; by default a dict here, bounded and expiring",
        _ANY,
        "memory:",
        per_client=True,
    ),
    "cookie": Mode(
        "exhibit: a number for each client, in its cookie", ("cookie",), "cookie:", exhibit=True, per_client=True
    ),
    "session-blob": _global("each client's whole session read, and written back whole")._replace(per_client=True),
    "bare": _global("a plain global, no await inside"),
    "unguarded": _global("a plain global, an await inside"),
    "lock-late-answer": _global("adds under the lock, reads the answer after it"),
    "thread": _global("a plain global in sync handlers, which run in threads"),
    "g": _global("a number on quart.g, which lives for one request")._replace(in_context=True),
    "app-context": _global("a number on the application context, which lives for one request")._replace(
        in_context=True
    ),
    "cache": Mode("exhibit: cachelib's inc on files, shared by workers", ("file",), "file:exhibit-cache", exhibit=True),
    "manager-proxy": Mode("exhibit: proxy.value += 1 on a manager's value", ("manager",), "manager:", exhibit=True),
    "sql-read-then-write": Mode("exhibit: SELECT, add, UPDATE", ("sqlite",), "sqlite:exhibit.db", exhibit=True),
    "memcached-get-set": Mode("exhibit: get, add, set", ("memcached",), "memcached://127.0.0.1:11211", exhibit=True),
    "redis-get-set": _plain_redis("GET, add, SET"),
    "redis-retry": _plain_redis("INCR through redis-py's defaults, while replies get lost"),
}


def no_such_mode(mode: str) -> ConfigurationError:
    """Return the error for a mode that is none: the nearest one, then those that count right, then the exhibits."""
    near = get_close_matches(mode, MODES, n=1)
    meant = f"did you mean {near[0]}? There" if near else "there"
    if set(mode) & set(":/."):
        meant = "a URL to race begins with http://. There"
    right = ", ".join(name for name, one in MODES.items() if not one.exhibit)
    wrong = ", ".join(name for name, one in MODES.items() if one.exhibit)
    return ConfigurationError(f"there is no mode {mode!r}; {meant} are {right}; and, wrong on purpose, {wrong}")


def mode_of(scheme: str) -> str:
    """Return the mode that a URL with this scheme implies."""
    for name, mode in MODES.items():
        if scheme in mode.schemes and not mode.exhibit:
            return name
    every = sorted({scheme for mode in MODES.values() for scheme in mode.schemes})
    raise ConfigurationError(
        f"no mode uses {scheme}: URLs; there are {' '.join(one + ':' for one in every)}, as in {_REDIS_URL}"
    )
