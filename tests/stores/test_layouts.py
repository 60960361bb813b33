"""docs/store-layouts.md is true: what it lists is what a store holds once it has counted with a key."""

import json
import os
import re
import sqlite3
from binascii import crc_hqx
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import redis

from quart_counter.model import Change
from quart_counter.stores import open_store
from quart_counter.stores.memcached.wire import Wire, gets
from stores.contract import fresh

PAGE = (Path(__file__).parents[2] / "docs" / "store-layouts.md").read_text()


def told(section: str) -> list[list[str]]:
    """The rows of a section's table; the first cell without its backticks."""
    body = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)[1]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line.startswith("| `")
    ]
    assert rows, section
    return [[row[0].strip("`"), *row[1:]] for row in rows]


def words(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


async def counted(url: str, name: str = "tickets") -> None:
    async with open_store(url) as store:
        await store.apply([Change(name), Change(name, key="k")])


def columns(section: str) -> set[str]:
    return {row[0] for row in told(section)}


async def test_sqlite(tmp_path):
    await counted(f"sqlite:{tmp_path}/counters.db")
    with closing(sqlite3.connect(tmp_path / "counters.db")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        held = {f"{table}.{row[1]}" for table in tables for row in db.execute(f"PRAGMA table_info({table})")}
        assert db.execute("SELECT name, value, version FROM counters WHERE version > 0").fetchall() == [
            ("tickets", 2, 2)
        ]
        assert db.execute("SELECT record FROM keys").fetchall() == [("1,,,, applied 2 2",)]
    assert held == columns("SQLite")


QUESTION = "SELECT table_name, column_name FROM information_schema.columns WHERE table_name LIKE 'quart_counter%'"


async def test_postgres(postgres_server):
    import asyncpg

    await counted(postgres_server.url, fresh())
    connection = await asyncpg.connect(postgres_server.url)
    try:
        held = {".".join(row) for row in await connection.fetch(QUESTION)}
    finally:
        await connection.close()
    assert held == columns("PostgreSQL")


async def test_mysql(mariadb_server):
    from quart_counter.stores.base import Limits
    from quart_counter.stores.mysql import _address
    from quart_counter.stores.mysql.session import connect

    await counted(mariadb_server.url, fresh())
    session = await connect(_address(mariadb_server.url), Limits())
    (rows,) = await session.run([QUESTION + " AND table_schema = DATABASE()"])
    await session.aclose("nobody")
    assert {f"{table}.{column}" for table, column in rows} == columns("MySQL and MariaDB")


async def test_redis(redis_server):
    name = fresh()
    await counted(redis_server.url, name)
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        keys = sorted([*client.scan_iter(f"qc:{{{name}}}*"), "qc:names"])
        held = {pattern(key, name): client.type(key) for key in keys}
        fields = set(client.hgetall(f"qc:{{{name}}}"))
        assert name in client.zrange("qc:names", "-", "+", bylex=True)
    rows = told("Redis and Valkey")
    assert held == {row[0]: row[1] for row in rows}
    assert fields == set(words(rows[0][2]))


async def test_redis_cluster(cluster):
    name = fresh()
    await counted(cluster.url, name)
    node = f"redis://127.0.0.1:{next(iter(cluster.servers))}"
    with redis.RedisCluster.from_url(node, decode_responses=True) as client:
        names = f"qc:names:{{{crc_hqx(name.encode(), 0) % 16}}}"
        keys = sorted([*client.scan_iter(f"qc:{{{name}}}*"), names])
        held = {pattern(key, name): client.type(key) for key in keys}
        assert name in client.zrange(names, "-", "+", bylex=True)
    assert held == {row[0]: row[1] for row in told("Redis Cluster")}


def pattern(key: str, name: str) -> str:
    """A key as the page writes it."""
    patterns = {r"flush:[0-9a-f]+$": "flush:<worker>", r"keys:\d+$": "keys:<end>", r"names:{\d+}$": "names:{<n>}"}
    for real, written in patterns.items():
        key = re.sub(real, written, key)
    return key.replace(name, "tickets")


async def test_files(tmp_path):
    await counted(f"file:{tmp_path}/counters", "Tickets")
    names = sorted(name for name in os.listdir(tmp_path / "counters") if not name.startswith("."))
    rows = told("Files")
    assert [re.sub(r"keys-\d+$", "keys-<end>", name) for name in names] == [row[0] for row in rows]
    count = json.loads((tmp_path / "counters" / "+tickets.count").read_text())
    assert list(count) == words(rows[0][1])


async def test_memcached(memcached_that_refuses):
    name = fresh()
    await counted(memcached_that_refuses.url, name)
    host, port = memcached_that_refuses.url.removeprefix("memcached://").split(":")
    wire = Wire(host, int(port), 5.0)
    rows = told("memcached")
    item = rows[0][0].replace("tickets", name)
    shards = [rows[1][0].replace("<shard>", f"{shard:02x}") for shard in range(0x40)]
    counter, *lists = await wire.exchange([gets(item), *map(gets, shards)])
    await wire.aclose()
    head, _, tail = (counter.data or b"").partition(b"\n")
    assert (head, list(json.loads(tail))) == (b"2 2", words(rows[0][1])[1:])
    assert listed(lists, name) == 1


def listed(shards: Sequence, name: str) -> int:
    return sum((shard.data or b"").decode().split("\n").count(name) for shard in shards)
