"""What is special about several Redis servers: slots that move, nodes that die, names in several lists, and URLs."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
import redis
from redis.crc import key_slot
from servers import require

from quart_counter.counters import Counters
from quart_counter.errors import ConfigurationError
from quart_counter.local.process import free_port
from quart_counter.local.redis.cluster import PrivateCluster, private_cluster
from quart_counter.local.redis.sentinel import SERVICE, PrivateSentinel, private_sentinel
from quart_counter.local.redis.waiting import until
from quart_counter.model import Applied, Change, NotApplied, OutcomeUnknown, Reading
from quart_counter.settings import load_settings
from quart_counter.stores import Limits, StoreAway, open_store
from quart_counter.stores.redis.address import several
from quart_counter.stores.redis.cluster import RedisClusterStore
from stores.contract import fresh

PATIENT = Limits(store_timeout_s=1.0, deadline_s=20.0, key_life_s=60.0)
QUICK = Limits(store_timeout_s=0.2, deadline_s=0.5, key_life_s=60.0)
ONE_TRY = Limits(store_timeout_s=2.0, deadline_s=0.1, key_life_s=60.0)


@pytest.fixture(scope="module")
def mortal() -> Iterator[PrivateCluster]:
    """A cluster whose servers these tests may kill; each of them leaves it whole."""
    require("redis")
    with private_cluster() as cluster:
        yield cluster


def client(port: int) -> redis.Redis:
    return redis.Redis("127.0.0.1", port, decode_responses=True)


def names_in_each(cluster: PrivateCluster) -> dict[int, str]:
    """A fresh name for each primary, by its port."""
    found: dict[int, str] = {}
    while len(found) < 3:
        name = fresh()
        found.setdefault(cluster.port_of(name), name)
    return found


async def test_one_batch_goes_to_all_nodes_and_is_answered_in_order(cluster):
    names = list((await asyncio.to_thread(names_in_each, cluster)).values())
    async with open_store(cluster.url, PATIENT) as store:
        assert await store.apply([Change(name) for name in names * 2]) == [
            *[Applied(1, 1)] * 3,
            *[Applied(2, 2)] * 3,
        ]
        assert list(await store.read_many(names)) == [Reading(2, 2)] * 3


async def test_a_counter_keeps_to_its_lane_and_the_lanes_to_the_nodes(cluster):
    names = await asyncio.to_thread(names_in_each, cluster)
    async with open_store(cluster.url, PATIENT) as store:
        assert isinstance(store, RedisClusterStore)
        assert store.lanes == 3
        assert {store.lane_of(name) for name in names.values()} == {0, 1, 2}


async def test_a_node_that_stands_still_holds_up_its_own_counters_alone(mortal):
    """While one primary is away and nobody replaced it yet, the counters of the others go on."""
    names = await asyncio.to_thread(names_in_each, mortal)
    dead, *others = names
    async with open_store(mortal.url, PATIENT) as store:
        counters = Counters(store, deadline_s=20.0, combine=True)
        for name in names.values():
            await counters.increment(name)
        await asyncio.to_thread(mortal.servers[dead].kill)
        late = asyncio.create_task(counters.increment(names[dead]))
        for number in range(2, 12):
            assert [await counters.increment(names[port]) for port in others] == [number, number]
            assert (await counters.read(names[others[0]])).value == number
        assert not late.done(), "nobody can have replaced it: its timeout is a second"
        await late
        await counters.drain()
    await asyncio.to_thread(mortal.servers[dead].start)
    await asyncio.to_thread(mortal.whole)


async def test_a_failover_is_waited_for_and_what_the_replica_has_goes_on(mortal):
    name = fresh()
    async with open_store(f"{mortal.url}?wait_replicas=1", PATIENT) as store:
        assert await store.apply([Change(name, 5, key="k")]) == [Applied(5, 1)]
        victim = await asyncio.to_thread(mortal.primary, name)
        await asyncio.to_thread(victim.kill)
        late = asyncio.create_task(store.apply([Change(name)]))
        await asyncio.to_thread(mortal.port_of, name)
        await asyncio.to_thread(victim.start)  # whoever took over is alone until then, and has nobody to wait for
        assert await late == [Applied(6, 2)]
        await asyncio.to_thread(mortal.whole)
        assert await store.apply([Change(name, 5, key="k")]) == [Applied(5, 1, replayed=True)]
        assert await store.read(name) == Reading(6, 2)


async def test_who_waits_for_more_replicas_than_there_are_is_told_that_nobody_knows(cluster):
    name = fresh()
    async with open_store(f"{cluster.url}?wait_replicas=2", ONE_TRY) as store:
        (outcome,) = await store.apply([Change(name)])
    assert isinstance(outcome, OutcomeUnknown)
    assert "1 of 2 replicas" in outcome.because
    async with open_store(cluster.url, PATIENT) as store:
        assert await store.read(name) == Reading(1, 1), "it counted once, however often it was sent"


@pytest.mark.parametrize("kind", ["cluster", "sentinel"])
async def test_what_too_few_replicas_have_is_not_told_to_readers_either(request, kind):
    """Else a reader sees a number that a failover takes back."""
    url, name = request.getfixturevalue(kind).url, fresh()
    async with open_store(url, PATIENT) as one, open_store(f"{url}?wait_replicas=3", ONE_TRY) as careful:
        await one.apply([Change(name)])
        with pytest.raises(StoreAway, match="of 3 replicas"):
            await careful.read(name)
    async with open_store(f"{url}?wait_replicas=1", PATIENT) as store:
        assert await store.read(name) == Reading(1, 1)
        assert list(await store.read_many([name, fresh()])) == [Reading(1, 1), Reading(0, 0)]


class TestASlotThatMoves:
    """Resharding, by the steps of redis-cli: a counter is never counted twice, nor read as 0."""

    async def test_while_it_moves_a_change_waits_and_a_read_finds_it(self, mortal):
        name, slot, source, target = await asyncio.to_thread(self.begin, mortal)
        async with open_store(mortal.url, PATIENT) as store, open_store(mortal.url, QUICK) as hasty:
            await store.apply([Change(name), Change(name, key="k")])
            await asyncio.to_thread(self.mark, slot, source, target)
            self.migrate(source, target, [f"qc:{{{name}}}"])
            (outcome,) = await hasty.apply([Change(name)])
            assert isinstance(outcome, NotApplied)
            assert "TryAgain" in outcome.because
            assert await store.read(name) == Reading(2, 2)
            late = asyncio.create_task(store.apply([Change(name)]))
            await asyncio.to_thread(self.finish, mortal, slot, source, target)
            assert await late == [Applied(3, 3)]
            assert await store.apply([Change(name, key="k")]) == [Applied(2, 2, replayed=True)]
            assert await store.read(name) == Reading(3, 3)

    def begin(self, cluster: PrivateCluster) -> tuple[str, int, int, int]:
        source, target, *_ = names = names_in_each(cluster)
        name = names[source]
        return name, key_slot(f"qc:{{{name}}}".encode()), source, target

    def mark(self, slot: int, source: int, target: int) -> None:
        ids = {port: client(port).execute_command("CLUSTER", "MYID") for port in (source, target)}
        client(target).execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        client(source).execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])

    def migrate(self, source: int, target: int, keys: list[str]) -> None:
        client(source).execute_command("MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", *keys)

    def finish(self, cluster: PrivateCluster, slot: int, source: int, target: int) -> None:
        left = client(source).execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100)
        if left:
            self.migrate(source, target, left)
        owner = client(target).execute_command("CLUSTER", "MYID")
        for port in (target, source):
            client(port).execute_command("CLUSTER", "SETSLOT", slot, "NODE", owner)


class TestItsNames:
    async def test_a_name_whose_listing_was_lost_is_listed_by_the_next_worker_that_counts(self, cluster):
        name = fresh()
        async with open_store(cluster.url, PATIENT) as one, open_store(cluster.url, PATIENT) as other:
            await one.apply([Change(name, 100)])
            await asyncio.to_thread(self.unlist, cluster, name)
            assert name not in await one.names(after=name[:-1], limit=10)
            for _ in range(3):
                await other.apply([Change(name)])
            assert name in await one.names(after=name[:-1], limit=10)

    async def test_a_counter_forgotten_by_another_is_listed_again(self, cluster):
        name = fresh()
        async with open_store(cluster.url, PATIENT) as one, open_store(cluster.url, PATIENT) as other:
            await one.apply([Change(name)])
            await other.forget(name)
            assert await one.apply([Change(name)]) == [Applied(1, 1)]
            assert name in await other.names(after=name[:-1], limit=10)

    def unlist(self, cluster: PrivateCluster, name: str) -> None:
        key = f"qc:names:{{{key_slot(name.encode()) % 16}}}"
        with redis.RedisCluster.from_url(f"redis://127.0.0.1:{next(iter(cluster.servers))}") as whole:
            assert whole.zrem(key, name) == 1


class TestGuarantees:
    async def test_a_failover_may_lose_so_no_more_than_a_restart_is_promised(self):
        arguments = ["--appendonly", "yes", "--appendfsync", "always"]
        require("redis")
        with private_cluster(extra_args=arguments) as cluster:
            async with open_store(cluster.url, PATIENT) as store:
                stated = store.guarantees
        assert (stated.durable, stated.exactly_once, stated.scope) == ("restart", True, "network")
        assert "acknowledged ones too" in " ".join(stated.notes)

    async def test_without_a_file_nothing_is_promised(self, cluster, sentinel):
        for url in (cluster.url, sentinel.url):
            async with open_store(f"{url}?wait_replicas=1", PATIENT) as store:
                assert store.guarantees.durable == "none"
                assert "when 1 replica(s) have it" in " ".join(store.guarantees.notes)


async def test_the_redis_of_a_moved_primary_is_found_through_sentinels(sentinel: PrivateSentinel):
    """One Sentinel of three is dead, another knows nothing of us: the third tells."""
    name = fresh()
    known = next(iter(sentinel.sentinels))
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{known}"
    async with open_store(f"redis+sentinel://{hosts}/{SERVICE}", PATIENT) as store:
        for number in range(1, 6):
            assert await store.apply([Change(name)]) == [Applied(number, number)]
    async with open_store(f"{sentinel.url[:-1]}1", PATIENT) as other:
        assert await other.read(name) == Reading(0, 0), "database 1 is another"


async def test_a_primary_that_stood_still_and_was_replaced_gets_no_more_changes():
    """It goes on as a primary for ten seconds, with our connection open, and what it takes in then is lost."""
    name = fresh()
    require("redis")
    with private_sentinel() as group:
        async with open_store(f"{group.url}?wait_replicas=1", PATIENT) as store:
            assert await store.apply([Change(name)]) == [Applied(1, 1)]
            old = group.primary
            os.kill(old.pid, signal.SIGSTOP)
            try:
                await asyncio.to_thread(until, lambda: group.primary is not old, "nobody replaced it")
            finally:
                os.kill(old.pid, signal.SIGCONT)
            assert await store.apply([Change(name)]) == [Applied(2, 2)]
            with redis.Redis.from_url(group.primary.url, decode_responses=True) as new:
                assert new.hget(f"qc:{{{name}}}", "value") == "2"


REFUSED = {
    "a single server as a cluster": (
        lambda single, _c, _s: single.replace("redis://", "redis+cluster://").removesuffix("/0"),
        "name it as redis://",
    ),
    "a node as a single server": (
        lambda _, cluster, _s: f"redis://127.0.0.1:{next(iter(cluster.servers))}/0",
        "redis+cluster://HOST:PORT",
    ),
    "nobody there": (lambda *_: f"redis+cluster://:hunter2@127.0.0.1:{free_port()}", "redis+cluster://HOST:PORT"),
    "a port that is none": (lambda *_: "redis+cluster://:hunter2@127.0.0.1:abc", "redis+cluster://USER"),
    "no hosts": (lambda *_: "redis+cluster://", "redis+cluster://USER"),
    "a database of a cluster": (lambda *_: "redis+cluster://127.0.0.1:1/3", "no databases"),
    "no Sentinel there": (lambda *_: f"redis+sentinel://127.0.0.1:{free_port()}/counters", "no Sentinel told"),
    "no service": (lambda *_: "redis+sentinel://:hunter2@127.0.0.1:1", "SERVICE"),
    "a service that nobody knows": (
        lambda _, _c, sentinel: sentinel.url.replace(SERVICE, "nobody"),
        "it knows no 'nobody'",
    ),
    "a wait that is no number": (lambda *_: "redis+cluster://127.0.0.1:1?wait_replicas=all", "wait_replicas"),
    "an option that means nothing": (lambda *_: "redis+cluster://127.0.0.1:1?nonsense=1", "nonsense"),
}


@pytest.mark.parametrize(("url", "remedy"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_opened_is_told_in_one_sentence(redis_server, cluster, sentinel, url, remedy):
    wrong = url(redis_server.url, cluster, sentinel)
    with pytest.raises(ConfigurationError) as raised:
        async with open_store(wrong, QUICK):
            pytest.fail("it opened")
    assert remedy in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"])
def test_they_are_forms_of_the_mode_redis(scheme):
    assert load_settings({}, url=f"{scheme}://h:1/s").mode == "redis"
    with pytest.raises(ConfigurationError, match="redis-get-set"):
        load_settings({}, mode="redis-get-set", url=f"{scheme}://h:1/s")


def test_an_address_with_several_hosts_is_taken_apart():
    address = several("rediss+cluster://me:p%2Fw@a:1,[::1]:2,c?client_name=x", 6379)
    assert address.hosts == (("a", 1), ("::1", 2), ("c", 6379))
    assert [address.server(host) for host in address.hosts] == [
        "rediss://me:p%2Fw@a:1/0?client_name=x",
        "rediss://me:p%2Fw@[::1]:2/0?client_name=x",
        "rediss://me:p%2Fw@c:6379/0?client_name=x",
    ]
