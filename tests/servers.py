"""The servers tests run against: the one a variable names, else one of our own, else a skip that says what mends it."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from quart_counter.local import mariadb, memcached, postgres, redis
from quart_counter.local.process import LocalServer, ServerMissing


@dataclass(frozen=True)
class NamedServer:
    """A server that someone else runs: it has a url, and is not ours to stop or kill."""

    url: str


@dataclass(frozen=True)
class Kind:
    find: Callable[[], list[str]]
    start: Callable[..., LocalServer]
    variable: str


KINDS = {
    "redis": Kind(redis.find, redis.private_redis, "QUART_COUNTER_TEST_REDIS_URL"),
    "postgres": Kind(postgres.find, postgres.private_postgres, "QUART_COUNTER_TEST_POSTGRES_URL"),
    "mariadb": Kind(mariadb.find, mariadb.private_mariadb, "QUART_COUNTER_TEST_MYSQL_URL"),
    "memcached": Kind(memcached.find, memcached.private_memcached, "QUART_COUNTER_TEST_MEMCACHED_URL"),
}


def lacking(remedy: str) -> None:
    """Skip the test, saying what mends it; with QUART_COUNTER_REQUIRE_SERVERS=1 (as in CI) fail instead."""
    give_up = pytest.fail if os.environ.get("QUART_COUNTER_REQUIRE_SERVERS") == "1" else pytest.skip
    give_up(remedy)


def require(thing: str) -> None:
    """Skip the test, or fail, unless this machine has the server."""
    try:
        KINDS[thing].find()
    except ServerMissing as missing:
        lacking(str(missing))


def require_program(program: str, package: str = "") -> None:
    """Skip the test, or fail, unless this machine has the program."""
    if shutil.which(program) is None:
        lacking(f"no {program} on this machine: `apt-get install {package or program}` mends it")


def a_server_of_our_own(thing: str, **options: Any) -> LocalServer:
    """For tests that stop or kill it: never the shared one."""
    require(thing)
    return KINDS[thing].start(**options)


def shared_server(thing: str) -> Iterator[LocalServer | NamedServer]:
    """One server for the whole run; a test uses names of its own in it and leaves it running."""
    url = os.environ.get(KINDS[thing].variable)
    if url:
        yield NamedServer(url)
        return
    with a_server_of_our_own(thing) as server:
        yield server
