"""Rows in which a process dies: workers by kill -9 and SIGTERM, servers by kill -9 and immediate stop."""

import asyncio
import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median

from faults.crowd import Wanted
from faults.rig import Rig, rig, until
from faults.table import Result, Size, judge
from faults.work import mixed
from quart_counter.local.process import LocalServer

CLIENTS = 64
REPLACED_S = 3.0
PAUSE_S = {"worker": 12.0, "store": 7.0}  # longer than twice the deadline; longer than the deadline
HOURS_S = 10 * 3600.0  # a full run takes as long as it takes; each step of it has its own patience


@asynccontextmanager
async def under_load(running: Rig, work: Iterator[Wanted], size: Size, connect_anew: int = 0) -> AsyncIterator[None]:
    """Clients work while the block breaks things, and go on until there are enough operations; then the last reads."""
    crowd = running.crowd
    load = asyncio.create_task(crowd.run(CLIENTS, work, connect_anew=connect_anew))
    try:
        await running.progress(CLIENTS)
        yield
        await until(lambda: crowd.settled >= size.ops or load.done(), patience_s=HOURS_S)
    finally:
        crowd.leaving = True
        await load
    await running.last_reads()


async def worker_kill(mode: str, size: Size, seed: int) -> Result:
    """kill -9 of one worker of three, again and again."""
    result, rng, killed, took_s = Result(f"kill-worker-{mode}", seed, size), random.Random(seed), set(), []
    async with rig(mode, seed=seed, workers=3, knows_workers=True) as running:
        async with under_load(running, mixed(seed), size):
            for _ in range(size.faults):
                await running.progress(rng.randrange(16, 64))
                victim = rng.choice(running.service.pids)
                result.in_flight += running.crowd.in_flight[victim]
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
                result.faults += 1
                took_s.append(await running.all_up(but=victim))
        judge(result, running.crowd)
        others = sum(n for pid, n in running.crowd.unanswered.items() if pid not in killed)
        refused = sum(n.total() for pid, n in running.crowd.not_ok.items() if pid not in killed)
    result.notes.append(
        f"requests of other workers that failed: {others + refused}; replaced in {median(took_s):.2f} s (median), "
        f"{max(took_s):.2f} s (worst), at a load average of {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    )
    result.miss_unless(others + refused == 0, f"{others + refused} requests of other workers failed")
    late = sum(one >= REPLACED_S for one in took_s)
    result.miss_unless(late == 0, f"{late} of {len(took_s)} replacements took {REPLACED_S:g} s or more")
    return result


async def rolling(mode: str, size: Size, seed: int) -> Result:
    """SIGTERM to one worker after another; half of the clients connect anew for each request."""
    result = Result(f"rolling-{mode}", seed, size)
    async with rig(mode, seed=seed, workers=2) as running:
        async with under_load(running, mixed(seed), size, connect_anew=CLIENTS // 2):
            for number in range(size.faults):
                await running.progress(16)
                leaver = running.service.pids[number % 2]
                result.in_flight += running.crowd.waiting // 2
                os.kill(leaver, signal.SIGTERM)
                result.faults += 1
                await running.all_up(but=leaver)
        judge(result, running.crowd)
        failed = running.crowd.unanswered.total() + sum(n.total() for n in running.crowd.not_ok.values())
    result.notes.append(f"requests in flight that failed: {failed}")
    result.miss_unless(failed == 0, f"{failed} requests in flight failed")
    return result


async def server_kill(
    mode: str, size: Size, seed: int, how: signal.Signals = signal.SIGKILL, **options: object
) -> Result:
    """The store's server dies and comes back."""
    word = "".join(f"-{value}" for value in options.values())
    result, rng = Result(f"kill-store-{mode}{word}", seed, size), random.Random(seed)
    async with rig(mode, seed=seed, server_options=options) as running:
        server = running.server
        assert isinstance(server, LocalServer)
        async with under_load(running, mixed(seed, keyed=0.5), size):
            for _ in range(size.faults):
                await running.progress(rng.randrange(64, 128))
                result.in_flight += running.crowd.waiting
                await asyncio.to_thread(server.kill, how)
                result.faults += 1
                await asyncio.to_thread(server.start)
        judge(result, running.crowd)
    return result


async def pause(mode: str, whom: str, size: Size, seed: int) -> Result:
    """A worker, or the store's server, stands still for longer than every deadline, and then goes on."""
    result = Result(f"pause-{whom}-{mode}", seed, size)
    async with rig(mode, seed=seed, timeout_s=30.0) as running:
        async with under_load(running, mixed(seed, keyed=0.5), size):
            for number in range(size.faults):
                await running.progress(CLIENTS)
                at_store = whom == "store" and isinstance(running.server, LocalServer)
                pid = running.server.pid if at_store else running.service.pids[number % 2]
                result.in_flight += running.crowd.waiting if whom == "store" else running.crowd.waiting // 2
                result.faults += 1
                family = await asyncio.to_thread(_family, pid)
                _signal(family, signal.SIGSTOP)
                try:
                    await asyncio.sleep(PAUSE_S[whom])
                finally:
                    _signal(family, signal.SIGCONT)
        judge(result, running.crowd)
        statuses = sum(running.crowd.not_ok.values(), Counter[int]())
    result.notes.append(f"stood still for {PAUSE_S[whom]:g} s; answers {dict(statuses) or 'all definite'}")
    return result


def _family(pid: int) -> list[int]:
    """A process and its children: PostgreSQL has one for each connection."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [pid, *map(int, children.split())]


def _signal(pids: list[int], how: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, how)


async def sqlite_kill(size: Size, seed: int) -> Result:
    """All workers die together in the middle of a commit: while the journal is on the disk."""
    result, rng, hot, sick = Result("kill-sqlite-mid-commit", seed, size), random.Random(seed), 0, 0
    async with rig("sqlite", seed=seed) as running:
        file = running.folder / "counters"
        journal = file.with_name("counters-journal")
        async with under_load(running, mixed(seed), size):
            for _ in range(size.faults):
                await running.progress(rng.randrange(16, 64))
                await until(lambda: journal.exists() and journal.stat().st_size > 0, look_s=0)
                victims = running.service.pids
                result.in_flight += running.crowd.waiting
                for victim in victims:
                    os.kill(victim, signal.SIGKILL)
                result.faults += 1
                await until(lambda gone=victims: not set(gone) & set(running.service.pids))
                hot += journal.exists() and journal.stat().st_size > 0
                sick += await asyncio.to_thread(_integrity, str(file)) != "ok"
                await running.all_up()
        judge(result, running.crowd)
    result.notes.append(f"the kill left a half-written transaction {hot} times; integrity_check not ok {sick} times")
    result.miss_unless(sick == 0, f"integrity_check failed {sick} times")
    return result


def _integrity(path: str) -> str:
    database = sqlite3.connect(path, timeout=10.0)
    try:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        database.close()
