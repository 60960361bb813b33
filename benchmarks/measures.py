"""The measures with a goal: which subject, against which, and how much of it at least."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.rounds import Subject
from benchmarks.servers import SERVERS, Server
from benchmarks.wrk import Hit


@dataclass(frozen=True)
class Measure:
    """`ours` must reach `goal` times what `against` reaches, in requests a second."""

    name: str
    title: str
    ours: str
    against: str
    goal: float


BY_NAME: Final[Mapping[str, Server]] = {server.name: server for server in SERVERS}


def _plain(server: Server) -> Subject:
    return Subject(server.name, server.title, server, Hit(*server.hit))


def _redis(name: str, title: str, hit: Hit) -> Subject:
    return Subject(name, f"ours, mode redis, Hypercorn: {title}", BY_NAME["redis"], hit)


_ONE: Final = "/counters/tickets/increment"
_MANY: Final = "/counters/ticket-%d/increment"

SUBJECTS: Final[Sequence[Subject]] = (
    *map(_plain, SERVERS),
    _redis("keys-sent", "an Idempotency-Key on every request", Hit("POST", _ONE, keys="sent")),
    _redis("keys-unsent", "the same script, the key not sent", Hit("POST", _ONE, keys="unsent")),
    _redis("names-64", "64 counters", Hit("POST", _MANY, names=64)),
    _redis("names-1", "the same script, 1 counter", Hit("POST", _MANY, names=1)),
)

MEASURES: Final[Sequence[Measure]] = (
    Measure("redis", "redis mode on Hypercorn, to a bare ASGI counter on Hypercorn", "redis", "bare", 0.85),
    Measure("lock", "lock mode on Hypercorn, to a bare ASGI counter on Hypercorn", "lock", "bare", 0.90),
    Measure("redis-to-lock", "redis mode, to lock mode", "redis", "lock", 0.95),
    Measure("fastapi", "redis mode on Hypercorn, to FastAPI + uvicorn + redis.incr()", "redis", "fastapi-redis", 1.2),
    Measure(
        "uvicorn", "redis mode on uvicorn, to FastAPI + uvicorn + redis.incr()", "redis-uvicorn", "fastapi-redis", 5
    ),
    Measure("granian", "redis mode on granian, to Webdis (C)", "redis-granian", "webdis", 0.5),
    Measure("keys", "an Idempotency-Key on every request, to none", "keys-sent", "keys-unsent", 0.85),
    Measure("sqlite", "sqlite mode, synchronous=FULL, to lock mode", "sqlite", "lock", 0.85),
    Measure("postgres", "postgres mode, to lock mode", "postgres", "lock", 0.85),
    Measure("names", "64 clients on 64 counters, to one counter; redis mode", "names-64", "names-1", 0.85),
)


def subjects_of(names: Iterable[str]) -> list[Subject]:
    """Return the subjects that the measures `names` compare; "peers" names them all."""
    chosen = set(names)
    wanted = {word for one in MEASURES if one.name in chosen for word in (one.ours, one.against)}
    return [one for one in SUBJECTS if one.name in wanted or "peers" in chosen]
