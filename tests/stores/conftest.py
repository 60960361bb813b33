"""Every store by name: add one opener, and the whole contract runs through it."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from servers import a_server_of_our_own, require

from quart_counter.local.process import LocalServer
from quart_counter.local.redis.cluster import PrivateCluster, private_cluster
from quart_counter.local.redis.sentinel import PrivateSentinel, private_sentinel
from quart_counter.stores import Limits, open_store
from quart_counter.stores.manager.process import RunningManager, private_manager
from stores.contract import Open


def memory(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, "memory:")


def redis(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, request.getfixturevalue("redis_server").url)


def redis_cluster(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, request.getfixturevalue("cluster").url)


def redis_sentinel(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, request.getfixturevalue("sentinel").url)


def sqlite(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, f"sqlite:{request.getfixturevalue('tmp_path')}/counters.db")


def memcached(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, request.getfixturevalue("memcached_that_refuses").url)


def manager(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, request.getfixturevalue("shared_manager").url)


def file(request: pytest.FixtureRequest) -> Open:
    url = f"file:{request.getfixturevalue('tmp_path')}/counters"
    # 512 counters are 512 trips to the disk: the contract asks whether they count, not how busy this machine's disk is
    return lambda limits: open_store(url, limits or Limits(deadline_s=30.0))


def postgres(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, request.getfixturevalue("postgres_server").url)


def mysql(request: pytest.FixtureRequest) -> Open:
    return partial(open_store, request.getfixturevalue("mariadb_server").url)


OPENERS: dict[str, Callable[[pytest.FixtureRequest], Open]] = {
    "memory": memory,
    "redis": redis,
    "redis cluster": redis_cluster,
    "redis sentinel": redis_sentinel,
    "sqlite": sqlite,
    "postgres": postgres,
    "mysql": mysql,
    "memcached": memcached,
    "manager": manager,
    "file": file,
}


@pytest.fixture(params=OPENERS)
def open_it(request: pytest.FixtureRequest) -> Open:
    """Opens the store of one backend: `async with open_it(limits) as store`."""
    return OPENERS[request.param](request)


@pytest.fixture(scope="session")
def cluster() -> Iterator[PrivateCluster]:
    """A Redis Cluster for the run, three primaries and three replicas: nobody kills its servers."""
    require("redis")
    with private_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sentinel() -> Iterator[PrivateSentinel]:
    """A primary, two replicas and three Sentinels for the run: nobody kills them."""
    require("redis")
    with private_sentinel() as group:
        yield group


@pytest.fixture(scope="session")
def memcached_that_refuses() -> Iterator[LocalServer]:
    """A memcached that evicts nothing (-M): the contract asks for what such a one can promise."""
    with a_server_of_our_own("memcached", extra_args=["-M"]) as server:
        yield server


@pytest.fixture(scope="session")
def shared_manager() -> Iterator[RunningManager]:
    """One manager for the run; each test counts under names of its own in it."""
    with private_manager() as manager:
        yield manager
