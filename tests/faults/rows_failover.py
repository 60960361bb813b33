"""Rows on more than one machine, each a process of this one: exact in health; a failover may lose, and is judged."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count, islice
from statistics import median

from faults.crowd import Crowd, Wanted
from faults.rig import Rig, rig, until
from faults.rows_kill import CLIENTS, HOURS_S
from faults.table import Result, Size, judge
from faults.work import mixed
from quart_counter.local.process import LocalServer
from quart_counter.local.redis.cluster import PrivateCluster
from quart_counter.local.redis.resp import ask
from quart_counter.local.redis.sentinel import PrivateSentinel
from quart_counter.serving.service import Service
from quart_counter.settings import load_settings

COUNTERS = 24
FEW = 16  # clients: what is measured is loss, not speed
CUT_S = 0.5
# What trades speed for less loss: options of the servers, and of our URL.
SETTINGS: dict[str, tuple[list[str], str]] = {
    "default": ([], ""),
    "fsync": (["--appendonly", "yes", "--appendfsync", "always"], ""),
    "min-replicas": (["--min-replicas-to-write", "1", "--min-replicas-max-lag", "1"], ""),
    "wait": ([], "?wait_replicas=1"),
    "wait-all": ([], "?wait_replicas=2"),
}


def settings_of(kind: str) -> list[str]:
    """Return the settings for a cluster or a Sentinel set: where a primary has one replica, that one is all."""
    return [setting for setting in SETTINGS if (kind, setting) != ("cluster", "wait-all")]


def adds(seed: int) -> Iterator[Wanted]:
    """Adds of 1 with a key each, on counters in all nodes, and a read now and then.

    Each is sent until it is answered, so what the counters say less than the answers is what was lost.
    """
    rng = random.Random(seed)
    for number in count():
        name = f"c{rng.randrange(COUNTERS)}"
        yield Wanted("read", name) if rng.random() < 0.1 else Wanted("add", name, 1, None, f"{seed}-{number}")


@asynccontextmanager
async def counting(crowd: Crowd, work: Iterator[Wanted]) -> AsyncIterator[None]:
    """A few clients work until the end of the block."""
    load = asyncio.create_task(crowd.run(FEW, work))
    try:
        yield
    finally:
        crowd.leaving = True
        await load


async def failover(kind: str, setting: str, cut: bool, size: Size, seed: int) -> Result:
    """kill -9 of a primary under load, a replica takes over, the dead one comes back as a replica; again and again.

    With `cut` the replicas have lost their line to it half a second before: what it acknowledges then, it alone has.
    """
    result = Result(f"{'cut-' if cut else ''}failover-{kind}-{setting}", seed, size)
    rng, away_s = random.Random(seed), []
    arguments, query = SETTINGS[setting]
    async with rig(kind, seed=seed, server_options={"extra_args": arguments}, query=query, timeout_s=30.0) as running:
        servers = running.server
        assert isinstance(servers, PrivateCluster | PrivateSentinel)
        async with counting(running.crowd, adds(seed)):
            for _ in range(size.faults):
                await running.progress(rng.randrange(100, 200))
                name = f"c{rng.randrange(COUNTERS)}"
                victim = await asyncio.to_thread(_primary, servers, name)
                if cut:
                    await asyncio.to_thread(_cut, servers, victim)
                    await asyncio.sleep(CUT_S)
                result.in_flight += running.crowd.waiting
                began = time.monotonic()
                await asyncio.to_thread(victim.kill)
                result.faults += 1
                await asyncio.to_thread(_primary, servers, name)
                away_s.append(time.monotonic() - began)
                await asyncio.to_thread(_come_back, servers, victim)
            await until(lambda: running.crowd.settled >= size.ops, patience_s=HOURS_S)
        await running.last_reads()
        judge(result, running.crowd)
        statuses = sum(running.crowd.not_ok.values(), Counter[int]())
    duplicate, lost = result.anomalies["duplicate"], result.anomalies["lost"]
    result.notes.append(
        f"of {result.changes:,} acknowledged changes {lost} were lost and {duplicate} numbers handed out twice, in "
        f"{result.faults} failovers; another took over after {median(away_s):.1f} s (median), {max(away_s):.1f} s "
        f"(worst); answers {dict(statuses) or 'all definite'}"
    )
    return result


def _primary(servers: PrivateCluster | PrivateSentinel, name: str) -> LocalServer:
    return servers.primary(name) if isinstance(servers, PrivateCluster) else servers.primary


def _cut(servers: PrivateCluster | PrivateSentinel, primary: LocalServer) -> None:
    """End the replication lines of this primary, and let none come back: replicas log in, and nobody asked them to."""
    for port in servers.servers:
        ask(port, "CONFIG", "SET", "masterauth", "nobody knows it")
    (port,) = (port for port, server in servers.servers.items() if server is primary)
    ask(port, "CLIENT", "KILL", "TYPE", "replica")


def _come_back(servers: PrivateCluster | PrivateSentinel, victim: LocalServer) -> None:
    for port, server in servers.servers.items():
        if server.runs:
            ask(port, "CONFIG", "SET", "masterauth", "")
    victim.start()
    servers.whole()


async def price(kind: str, setting: str, size: Size, seed: int) -> Result:
    """Nothing breaks: how fast it counts with these settings, on servers that share this machine with everything."""
    result = Result(f"price-{kind}-{setting}", seed, size)
    arguments, query = SETTINGS[setting]
    async with rig(kind, seed=seed, server_options={"extra_args": arguments}, query=query, timeout_s=30.0) as running:
        began = time.monotonic()
        await running.crowd.run(CLIENTS, islice(adds(seed), size.ops))
        took_s = time.monotonic() - began
        await running.last_reads()
        judge(result, running.crowd)
    result.notes.append(
        f"{size.ops / took_s:,.0f} operations/s, {CLIENTS} clients, two workers, at a load average of "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )
    return result


async def two_hosts(mode: str, size: Size, seed: int) -> Result:
    """Two services on ports of their own share one database; all workers of one of them die by kill -9 meanwhile."""
    result = Result(f"two-hosts-{mode}", seed, size)
    async with rig(mode, seed=seed) as one:
        settings = load_settings({}, url=one.service._settings.url, workers=2, bind="127.0.0.1:0")
        async with Service(settings) as service:
            crowd = _beside(one.crowd, service.url)
            work = mixed(seed)  # the same iterator for both, so every key is used once
            loads = [asyncio.create_task(each.run(CLIENTS // 2, work)) for each in (one.crowd, crowd)]
            other = Rig(service, crowd)
            try:
                for _ in range(size.faults):
                    await asyncio.gather(one.progress(32), other.progress(32))
                    result.in_flight += crowd.waiting
                    result.faults += 1
                    await _kill_all(service)
                await until(lambda: one.crowd.settled + crowd.settled >= size.ops, patience_s=HOURS_S)
            finally:
                one.crowd.leaving = crowd.leaving = True
                await asyncio.gather(*loads)
                crowd.close()
            one.crowd.names |= crowd.names
            await one.last_reads()
            judge(result, one.crowd)
            result.miss_unless(crowd.given_up == 0, f"{crowd.given_up} changes were never answered")
            result.notes.append(f"answered by the one {one.crowd.settled:,}, by the other {crowd.settled:,} changes")
    return result


def _beside(crowd: Crowd, url: str) -> Crowd:
    """A crowd for another door, whose calls go into the same history."""
    other = Crowd(url)
    other.operations, other.callers, other.surprises = crowd.operations, crowd.callers, crowd.surprises
    return other


async def _kill_all(service: Service) -> None:
    victims = set(service.pids)
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    await until(lambda: len(service.pids) == len(victims) and not victims & set(service.pids))
