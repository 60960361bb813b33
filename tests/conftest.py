"""Fixtures that every test may ask for."""

import os
from collections.abc import Iterator

import pytest
from servers import NamedServer, shared_server

from quart_counter.local.process import LocalServer

# The files that take longest. They begin first, so that no process is left alone with one of them in the end.
LONGEST = ("test_race.py", "test_matrix.py", "test_faults.py", "test_planted.py", "test_front.py", "test_tutorial.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture
def open_handed() -> Iterator[None]:
    """A umask that keeps nothing from anybody."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[LocalServer | NamedServer]:
    """A Redis shared by the run: `.url`. Kill only one of your own (servers.a_server_of_our_own)."""
    yield from shared_server("redis")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[LocalServer | NamedServer]:
    """A PostgreSQL shared by the run: `.url`."""
    yield from shared_server("postgres")


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[LocalServer | NamedServer]:
    """A MariaDB (or MySQL) shared by the run: `.url`."""
    yield from shared_server("mariadb")


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[LocalServer | NamedServer]:
    """A memcached shared by the run: `.url`."""
    yield from shared_server("memcached")
