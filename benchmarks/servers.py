"""The servers that are measured: how each is started, and how its total is read back."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, Self

from quart_counter.local.postgres import private_postgres
from quart_counter.local.process import LOOPBACK, LocalServer, Probe, free_port
from quart_counter.local.redis import private_redis

ROOT: Final = Path(__file__).resolve().parent.parent
ANSWER_TIMEOUT_S: Final = 10.0


class Stores:
    """Private stores for one run, each started when it is first asked for and gone after the block."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @cached_property
    def folder(self) -> Path:
        """A folder on this machine's disk."""
        return Path(self._open.enter_context(TemporaryDirectory(prefix="quart-counter-benchmarks-")))

    @cached_property
    def redis(self) -> LocalServer:
        """A Redis in memory, without its append-only file: the same for all that count in Redis."""
        return self._open.enter_context(private_redis())

    @cached_property
    def postgres(self) -> LocalServer:
        """A PostgreSQL whose commits are on the disk when it answers."""
        return self._open.enter_context(private_postgres())


@dataclass(frozen=True)
class Server:
    """Something that counts over HTTP. `command` starts it on a port; `total` reads what it has counted, all in all."""

    name: str
    title: str
    needs: tuple[str, ...]
    command: Callable[[int, Stores], Sequence[str]]
    hit: tuple[str, str] = ("POST", "/increment")
    probe: str = "/total"
    total: Callable[[str], int] = lambda url: int(fetch(f"{url}/total")["value"])
    loop: str = ""  # where it has none that could be seen


def fetch(url: str) -> Any:
    """Return the JSON document at `url`."""
    with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
        return json.load(answer)


def start(server: Server, stores: Stores) -> LocalServer:
    """Return `server`, to be entered, on a port of its own; `.url` is where it answers."""
    port = free_port()
    ask = f"GET {server.probe} HTTP/1.1\r\nhost: {LOOPBACK}\r\nconnection: close\r\n\r\n".encode()
    return LocalServer(
        server.name,
        ["env", f"PYTHONPATH={ROOT}", *server.command(port, stores)],
        url=f"http://{LOOPBACK}:{port}",
        probe=Probe(port, ask, rb"HTTP/1\.[01] 200"),
    )


def sum_of_ours(url: str) -> int:
    """Add up all counters of a service of ours."""
    total, after = 0, ""
    while page := fetch(f"{url}/counters?limit=1000&after={after}")["counters"]:
        total += sum(counter["value"] for counter in page)
        after = page[-1]["name"]
    return total


def _python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def _hypercorn(app: str, port: int) -> list[str]:
    config = str(ROOT / "hypercorn.toml")
    return _python("-m", "hypercorn", "-c", config, "-k", "uvloop", "--bind", f"{LOOPBACK}:{port}", app)


def _uvicorn(app: str, port: int) -> list[str]:
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    return _python("-m", "uvicorn", app, "--host", LOOPBACK, "--port", str(port), *options)


def _with_redis(stores: Stores, command: Sequence[str]) -> list[str]:
    return [f"REDIS_URL={stores.redis.url}", *command]


def _gunicorn(app: str, port: int) -> list[str]:
    return _python("-m", "gunicorn", "--workers", "1", "--threads", "32", "--bind", f"{LOOPBACK}:{port}", app)


def _webdis(port: int, stores: Stores) -> list[str]:
    where = stores.redis.url.removeprefix("redis://").partition("/")[0]
    host, _, redis_port = where.partition(":")
    settings = {
        "redis_host": host,
        "redis_port": int(redis_port),
        "http_host": LOOPBACK,
        "http_port": port,
        "threads": 1,
        "daemonize": False,
        "verbosity": 0,
        "acl": [{"enabled": ["INCR", "GET"]}],
    }
    path = stores.folder / "webdis.json"
    path.write_text(json.dumps(settings))
    return ["webdis", str(path)]


def _total_of_webdis(url: str) -> int:
    """Ask until the answer is to our question: the replies to clients that hung up go to those who come next."""
    while "GET" not in (told := fetch(f"{url}/GET/webdis")):
        pass
    return int(told["GET"] or 0)


def _ours(name: str, title: str, needs: Sequence[str], command: Callable[[int, Stores], Sequence[str]]) -> Server:
    hit = ("POST", "/counters/tickets/increment")
    return Server(name, title, tuple(needs), command, hit, "/healthz", sum_of_ours)


def _serve(port: int, *options: str) -> list[str]:
    return _python("-m", "quart_counter", "serve", "--bind", f"{LOOPBACK}:{port}", *options)


def _granian(port: int, stores: Stores) -> list[str]:
    options = ["--interface", "asgi", "--factory", "--loop", "uvloop", "--workers", "1", "--no-ws", "--no-access-log"]
    command = _python("-m", "granian", *options, "--host", LOOPBACK, "--port", str(port), "quart_counter:create_app")
    return [f"QUART_COUNTER_URL={stores.redis.url}", *command]


_REDIS: Final = ("redis", "redis-server", "uvloop")

# Those that are compared stand side by side, for the rounds go through them in this order.
SERVERS: Final[Sequence[Server]] = (
    Server(
        "bare",
        "bare ASGI counter, Hypercorn",
        ("uvloop",),
        lambda port, _: _hypercorn("benchmarks.peers.bare:app", port),
    ),
    _ours("lock", "ours, mode lock, Hypercorn", ("uvloop",), lambda port, _: _serve(port, "--mode", "lock")),
    _ours("redis", "ours, mode redis, Hypercorn", _REDIS, lambda port, has: _serve(port, "--url", has.redis.url)),
    Server(
        "fastapi-redis",
        "FastAPI + await redis.incr(), uvicorn",
        (*_REDIS, "fastapi", "uvicorn", "httptools"),
        lambda port, has: _with_redis(has, _uvicorn("benchmarks.peers.fastapi_redis:app", port)),
    ),
    _ours(
        "redis-uvicorn",
        "ours, mode redis, uvicorn",
        (*_REDIS, "uvicorn", "httptools"),
        lambda port, has: _serve(port, "--url", has.redis.url, "--server", "uvicorn"),
    ),
    _ours("redis-granian", "ours, mode redis, granian", (*_REDIS, "granian"), _granian),
    Server(
        "webdis",
        "Webdis (C)",
        ("webdis", "redis-server"),
        _webdis,
        ("GET", "/INCR/webdis"),
        "/GET/webdis",
        _total_of_webdis,
        loop="libevent",
    ),
    _ours(
        "sqlite",
        "ours, mode sqlite (synchronous=FULL), Hypercorn",
        ("uvloop",),
        lambda port, has: _serve(port, "--url", f"sqlite:{has.folder / 'counters.db'}"),
    ),
    _ours(
        "postgres",
        "ours, mode postgres (fsync), Hypercorn",
        ("uvloop", "asyncpg", "postgres"),
        lambda port, has: _serve(port, "--url", has.postgres.url),
    ),
    Server(
        "quart-lock",
        "naive Quart + asyncio.Lock, Hypercorn",
        ("uvloop",),
        lambda port, _: _hypercorn("benchmarks.peers.quart_lock:app", port),
    ),
    Server(
        "quart-redis",
        "naive Quart + await redis.incr(), Hypercorn",
        _REDIS,
        lambda port, has: _with_redis(has, _hypercorn("benchmarks.peers.quart_redis:app", port)),
    ),
    Server(
        "fastapi-lock",
        "FastAPI + asyncio.Lock, uvicorn",
        ("fastapi", "uvicorn", "httptools", "uvloop"),
        lambda port, _: _uvicorn("benchmarks.peers.fastapi_lock:app", port),
    ),
    Server(
        "flask-redis",
        "Flask + redis.incr(), gunicorn (32 threads)",
        ("redis", "redis-server", "flask", "gunicorn"),
        lambda port, has: _with_redis(has, _gunicorn("benchmarks.peers.flask_redis:app", port)),
        loop="threads",
    ),
)
