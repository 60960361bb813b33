"""The stores' own locks: a Redis user and a PostgreSQL role with no more rights than docs/access.md says, and TLS."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis.asyncio as aioredis
from servers import a_server_of_our_own, require

from e2e.raw import ask
from e2e.served import outcome, serve
from quart_counter.local.redis.cluster import private_cluster
from quart_counter.local.redis.sentinel import private_sentinel
from quart_counter.model import Applied, Change, Reading
from quart_counter.stores import open_store

ACCESS = Path(__file__).parents[2] / "docs" / "access.md"
PASSWORD = "0f2d-a-pass%2Fword"  # in the URL; the server has it unquoted
JSON = [("Content-Type", "application/json")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", ACCESS.read_text(), re.DOTALL | re.MULTILINE)


def told_rule() -> list[str]:
    """The words of the ACL SETUSER that the page shows."""
    rule = next(block for block in blocks("text") if block.startswith("ACL SETUSER"))
    return rule.replace("\\\n", " ").replace(">PASSWORD", ">0f2d-a-pass/word").split()


async def everything(url: str) -> None:
    """Use the service as clients do; nothing of it may fail."""
    for n in range(3):
        keyed = [("Idempotency-Key", f"key-{n}"), *JSON]
        for _ in range(2):
            assert (await ask(url, "POST", "/counters/a/increment", keyed, b'{"by": 2}')).json["value"] == 2 * n + 2
    assert (await ask(url, "POST", "/counters/b/take", JSON, b'{"limit": 5}')).status == 200
    assert (await ask(url, "PUT", "/counters/b", JSON, b'{"value": 3}')).json["value"] == 3
    assert (await ask(url, "DELETE", "/counters/b")).json["value"] == 0
    assert [one["name"] for one in (await ask(url, "GET", "/counters")).json["counters"]] == ["a", "b"]
    assert (await ask(url, "GET", "/counters/a")).json["value"] == 6
    assert (await ask(url, "POST", "/session/increment")).json["value"] == 1
    ready = await ask(url, "GET", "/readyz")
    assert (ready.status, ready.json["guarantees"]["exactly_once"]) == (200, True)


FORBIDDEN: list[tuple[Any, ...]] = [
    ("FLUSHALL",),
    ("FLUSHDB",),
    ("KEYS", "*"),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("CONFIG", "GET", "requirepass"),  # the password of the one who may do everything
    ("SELECT", "3"),  # where there may be another's qc:… keys
    ("ACL", "LIST"),
    ("SHUTDOWN",),
    ("CLIENT", "LIST"),
    ("SCRIPT", "FLUSH"),
    ("SUBSCRIBE", "x"),
    ("MONITOR",),
    ("GET", "somebody:else"),
    ("SET", "somebody:else", "1"),
    ("UNLINK", "somebody:else"),
    ("EVAL", "return redis.call('GET', 'somebody:else')", "0"),
    ("EVAL", "return redis.call('FLUSHALL')", "0"),
]


async def test_a_redis_user_of_another_database() -> None:
    with a_server_of_our_own("redis") as server:
        async with aioredis.from_url(server.url) as admin:
            (select,) = told_besides(r"In a database N other than 0 it also\nneeds.*?,")
            await admin.execute_command(*told_rule(), select.replace("N", "3"))
        url = server.url.replace("redis://", f"redis://quart-counter:{PASSWORD}@").replace("/0", "/3")
        async with open_store(url) as store:
            assert await store.apply([Change("a")]) == [Applied(1, 1)]
        async with aioredis.from_url(url) as user:
            with pytest.raises(aioredis.ResponseError, match="permission"):
                await user.execute_command("SELECT", "0")


def told_besides(where: str = r"Behind Sentinel it also needs.*?\.\n") -> list[str]:
    """The further words for Sentinel, clusters and waiting."""
    sentence = re.search(where, ACCESS.read_text(), re.DOTALL)
    assert sentence
    return [word for word in re.findall(r"`(\+[^`]+)`", sentence[0]) for word in word.split()]


@pytest.mark.parametrize("start", [private_cluster, private_sentinel])
async def test_the_same_user_in_a_cluster_and_behind_sentinel(start):
    require("redis")
    with start() as group:
        for port in group.servers:
            async with aioredis.Redis(port=port) as admin:
                await admin.execute_command(*told_rule(), *told_besides())
        url = group.url.replace("://", f"://quart-counter:{PASSWORD}@", 1) + "?wait_replicas=1"
        async with open_store(url) as store:
            assert store.guarantees.exactly_once
            assert await store.apply([Change("a"), Change("b", key="k")]) == [Applied(1, 1)] * 2
            assert list(await store.read_many(["a", "b"])) == [Reading(1, 1)] * 2
            assert await store.names() == ["a", "b"]
            await store.forget("a")
            assert await store.names() == ["b"]


async def test_a_redis_user_who_may_count_and_nothing_else(tmp_path: Path) -> None:
    with a_server_of_our_own("redis") as server:
        async with aioredis.from_url(server.url) as admin:
            await admin.execute_command(*told_rule())
            await admin.set("somebody:else", "secret")
        url = server.url.replace("redis://", f"redis://quart-counter:{PASSWORD}@")
        limits = ("--rate", "1000/1s", "--client-keys", "100", "--max-names", "50")
        async with serve("--workers", "2", *limits, QUART_COUNTER_URL=url) as served:
            await everything(served.url)
            said = served.said
        file = str(tmp_path / "counters.ndjson")
        assert (await outcome("export", file, QUART_COUNTER_URL=url))[0] == 0
        assert (await outcome("import", file, QUART_COUNTER_URL=url))[0] == 0
        async with aioredis.from_url(url) as user:
            for command in FORBIDDEN:
                with pytest.raises(aioredis.ResponseError, match=r"permission|can't access|can't run"):
                    await user.execute_command(*command)
        assert "0f2d" not in "\n".join(said)


async def test_a_postgres_role_that_may_count_and_nothing_else() -> None:
    asyncpg = pytest.importorskip("asyncpg")
    with a_server_of_our_own("postgres", fsync=False) as server:
        async with serve(QUART_COUNTER_URL=server.url):
            pass  # the owner's first start makes the tables
        owner = await asyncpg.connect(server.url)
        where = urlsplit(server.url)
        database = where.path.removeprefix("/")
        grants = next(block for block in blocks("sql") if "CREATE ROLE" in block)
        grants = grants.replace("PASSWORD 'PASSWORD'", "PASSWORD '0f2d-a-pass/word'")
        await owner.execute(grants.replace("DATABASE counters", f'DATABASE "{database}"'))
        await owner.execute("CREATE TABLE somebody_else (x int)")
        lines = next(block for block in blocks("text") if "scram-sha-256" in block)
        doors = server.folder / "data" / "pg_hba.conf"
        doors.write_text(lines.replace("counters", database) + doors.read_text())
        await owner.execute("SELECT pg_reload_conf()")
        url = f"postgresql://quart_counter:{PASSWORD}@{where.hostname}:{where.port}{where.path}"
        async with serve("--workers", "2", QUART_COUNTER_URL=url) as served:
            await everything(served.url)
            assert "0f2d" not in "\n".join(served.said)
        role = await asyncpg.connect(url)
        for forbidden in (
            "SELECT * FROM somebody_else",
            "CREATE TABLE mine (x int)",
            "CREATE TEMPORARY TABLE mine (x int)",
            "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "SELECT lo_from_bytea(0, 'x')",
            "SELECT lo_creat(-1)",
            "SELECT lo_create(0)",
            "SELECT pg_read_file('PG_VERSION')",
            "DROP TABLE quart_counters",
            "TRUNCATE quart_counters",
            "ALTER TABLE quart_counters ADD x int",
            "CREATE ROLE other",
            "COPY quart_counters TO PROGRAM 'true'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await role.execute(forbidden)
        with pytest.raises(asyncpg.PostgresError, match="reject"):
            await asyncpg.connect(url.replace(where.path, "/template1"))
        await role.close()
        await owner.close()


BAD_STARTS = {
    "a wrong password": {"QUART_COUNTER_URL": "redis://u:hunter2hunter2@127.0.0.1:{redis}/0"},
    "nobody there": {"QUART_COUNTER_URL": "postgresql://u:hunter2hunter2@127.0.0.1:1/db"},
    "a malformed URL": {"QUART_COUNTER_URL": "redis://u:hunter2/hunter2@127.0.0.1:6379/0"},
    "a bad option": {"QUART_COUNTER_URL": "redis://u:hunter2hunter2@127.0.0.1:6379/0?retry=1"},
    "mysql": {"QUART_COUNTER_URL": "mysql://u:hunter2hunter2@127.0.0.1:1/db"},
    "a short secret": {"QUART_COUNTER_SECRET_KEY": "hunter2"},
    "a token for a file of tokens": {"QUART_COUNTER_TOKENS": f"qc_{'hunter2' * 6}"},
}


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_no_secret_is_ever_said() -> None:
    """At bad starts and at good ones: not on the console, not by /readyz or /metrics, not in a list of processes."""
    with a_server_of_our_own("redis") as server:
        port = str(urlsplit(server.url).port)
        bad = [{name: url.replace("{redis}", port) for name, url in environ.items()} for environ in BAD_STARTS.values()]
        for what, environ in zip(BAD_STARTS, bad, strict=True):
            status, said = await outcome("serve", "--bind", "127.0.0.1:0", **environ)
            assert status == 2, (what, said)
            assert "hunter2" not in said, (what, said)
        async with aioredis.from_url(server.url) as admin:
            await admin.execute_command("ACL", "SETUSER", "u", "on", ">hunter2hunter2", "~*", "+@all")
        good = {
            "QUART_COUNTER_URL": f"redis://u:hunter2hunter2@127.0.0.1:{port}/0",
            "QUART_COUNTER_SECRET_KEY": "hunter2hunter2hunter2",
        }
        async with serve("--log", "json", **good) as served:
            pages = [await ask(served.url, "GET", path) for path in ("/readyz", "/metrics", "/openapi.json", "/")]
            server.kill()  # and errors speak of the store
            pages += [await ask(served.url, *how) for how in (("GET", "/readyz"), ("POST", "/counters/a/increment"))]
            processes = [command_line(pid) for pid in (served.process.pid, *served.workers)]
        everything_said = [*(page.body for page in pages), *processes, "\n".join(served.said).encode()]
        assert [one for one in everything_said if b"hunter2" in one] == []
