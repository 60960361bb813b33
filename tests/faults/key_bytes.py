"""What one idempotency key costs in each store, measured: `python tests/faults/key_bytes.py [KEYS]`."""

import asyncio
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]

import redis.asyncio as aioredis

from faults.rig import store
from faults.table import say
from quart_counter.model import Applied, Change
from quart_counter.stores import open_store

COUNTERS = 20
FLUSH = 512  # changes at most


class Measured(NamedTuple):
    """A store with keys in it, and where its files lie."""

    store: Any
    url: str
    folder: Path


async def redis_bytes(measured: Measured, pattern: str = "qc:*:keys:*") -> int:
    """Return what Redis itself says of all key records, every field sampled."""
    async with aioredis.Redis.from_url(measured.url) as client:
        return sum([await client.memory_usage(key, samples=0) async for key in client.scan_iter(pattern)])


async def postgres_bytes(measured: Measured) -> int:
    size: int = await measured.store._reads.fetchval("SELECT pg_total_relation_size('quart_counter_keys')")
    return size


async def memcached_bytes(measured: Measured) -> int:
    return int((await measured.store._reads.exchange([b"stats\r\n"]))[0].stats["bytes"])


async def traced_bytes(measured: Measured) -> int:
    return tracemalloc.get_traced_memory()[0]


async def file_bytes(measured: Measured) -> int:
    return await asyncio.to_thread(_files, measured.folder, "*")


async def mysql_bytes(measured: Measured) -> int:
    return await asyncio.to_thread(_files, measured.folder, "quart_counter_keys.ibd")


def _files(folder: Path, pattern: str) -> int:
    return sum(file.stat().st_size for file in folder.rglob(pattern) if file.is_file())


async def manager_bytes(measured: Measured) -> int:
    return await asyncio.to_thread(_manager)


def _manager() -> int:
    """Return the resident memory of the manager's process, which is a child of ours."""
    asked = ["pgrep", "-P", str(os.getpid()), "-f", "stores.manager"]
    children = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    pages = sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in children)
    return pages * os.sysconf("SC_PAGE_SIZE")


SIZES: dict[str, tuple[Callable[[Measured], Awaitable[int]], str]] = {
    "redis": (redis_bytes, "MEMORY USAGE of the hashes of records"),
    "lock": (traced_bytes, "tracemalloc"),
    "manager": (manager_bytes, "growth of the manager's resident memory"),
    "sqlite": (file_bytes, "growth of the file"),
    "file": (file_bytes, "growth of the folder"),
    "mysql": (mysql_bytes, "growth of the table's file"),
    "postgres": (postgres_bytes, "growth of the table and its indexes"),
    "memcached": (memcached_bytes, "growth of `bytes`"),
}


async def measure(mode: str, keys: int) -> float:
    """Return bytes a key: `keys` of 36 characters each (a UUID's length), on COUNTERS counters."""
    how, _ = SIZES[mode]
    with store(mode) as (url, server, folder):
        async with open_store(url) as opened:
            # The counters exist before, so that only the keys make the difference.
            await opened.apply([Change(f"c{i}", key=f"first-{i}") for i in range(COUNTERS)])
            measured = Measured(opened, url, server.folder if server else folder)
            before = await how(measured)
            for start in range(0, keys, 500):
                batch = [Change(f"c{i % COUNTERS}", key=f"{i:036}") for i in range(start, start + 500)]
                outcomes = await opened.apply(batch)
                assert all(isinstance(one, Applied) for one in outcomes), outcomes[:1]
                del outcomes
            return (await how(measured) - before) / keys


async def flush_record(changes: list[Change]) -> int:
    """Return the bytes of the one record that a flush leaves in Redis."""
    with store("redis") as (url, _, folder):
        async with open_store(url) as opened:
            await opened.apply(changes)
            return await redis_bytes(Measured(opened, url, folder), "qc:*:flush:*")


def main() -> None:
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    for mode, (_, how) in SIZES.items():
        if mode == "lock":
            tracemalloc.start()
        say(f"| {mode} | {asyncio.run(measure(mode, keys)):.0f} | {how} |")
        tracemalloc.stop()
    plain = [Change("c")] * FLUSH
    keyed = [Change("c", key=f"{i:036}") for i in range(FLUSH)]
    for what, changes in (("folded into one step", plain), ("each with its key", keyed)):
        say(f"record of a flush of {FLUSH} changes to one counter, {what}: {asyncio.run(flush_record(changes))} bytes")


if __name__ == "__main__":
    main()
