"""`quart-counter serve` from outside: what dies is replaced, what stops is drained, and the exit status is true."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from servers import a_server_of_our_own

from e2e.raw import Connection, ask, connect, request
from e2e.served import Served, alive, serve, started
from quart_counter.local.process import LocalServer, ServerFailed
from quart_counter.local.redis import resp
from quart_counter.serving.worker import FAREWELL_S

INCREMENT = "/counters/tickets/increment"
QUICK_S = 3.0  # a second for what is under way, and the end of Python on a busy machine


@pytest.fixture
def own_redis() -> LocalServer:
    """A Redis to kill and to start again; its numbers survive that."""
    with a_server_of_our_own("redis", appendonly="everysec") as server:
        yield server


async def eventually(what: Callable[[], Awaitable[bool]], within_s: float = 10.0) -> float:
    """Wait until `what` holds; return how many seconds that took."""
    started_at = time.monotonic()
    async with asyncio.timeout(within_s):
        while not await what():  # noqa: ASYNC110 - other processes set no event of ours
            await asyncio.sleep(0.02)
    return time.monotonic() - started_at


class Load:
    """Clients that increment without a pause, half of them on a new connection each time, and what became of it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.values: list[int] = []
        self.became: Counter[str] = Counter()
        self.leaving = asyncio.Event()

    @asynccontextmanager
    async def running(self, clients: int = 20) -> AsyncIterator["Load"]:
        tasks = [asyncio.create_task(self._client(afresh=bool(number % 2))) for number in range(clients)]
        await eventually(self._rolling)
        try:
            yield self
        finally:
            self.leaving.set()
            await asyncio.gather(*tasks)

    async def _rolling(self) -> bool:
        return len(self.values) >= 100

    async def _client(self, afresh: bool) -> None:
        while not self.leaving.is_set():
            try:
                async with connect(self.url) as connection:
                    await self._on(connection, afresh)
            except ConnectionRefusedError:
                self.became["refused"] += 1
                return
            except (ConnectionError, asyncio.IncompleteReadError):
                self.became["cut"] += 1

    async def _on(self, connection: Connection, afresh: bool) -> None:
        while not self.leaving.is_set():
            reply = await connection.ask("POST", INCREMENT)
            self.became[str(reply.status)] += 1
            if reply.status == 200:
                self.values.append(reply.json["value"])
            if afresh or reply.says_close:
                return


# ---- workers die ----


async def test_a_killed_worker_is_replaced_and_the_others_go_on(own_redis: LocalServer) -> None:
    """kill -9 costs at most what was under way on that worker's own connections."""
    async with serve("--mode", "redis", "--url", own_redis.url, "--workers", "3") as served:
        victim = served.workers[0]
        others = [pid for pid in served.workers if pid != victim]
        async with Load(served.url).running() as load:
            os.kill(victim, signal.SIGKILL)
            killed_at = len(load.values)
            await served.says(rf"worker {victim} was killed by SIGKILL: replacing it")

            async def replaced() -> bool:
                return len(set(await children(served)) - {victim}) == 3

            assert await eventually(replaced) < 3
            await eventually(lambda: grown(load, killed_at + 200))
        assert load.became.keys() <= {"200", "cut"}
        assert load.became["cut"] <= 20  # what 20 clients can have under way
        assert len(load.values) == len(set(load.values))
        assert all(alive(pid) for pid in others)


async def grown(load: Load, size: int) -> bool:
    return len(load.values) >= size


async def children(served: Served) -> list[int]:
    listing = await asyncio.create_subprocess_exec(
        *("ps", "--ppid", str(served.process.pid), "-o", "pid=,args="), stdout=asyncio.subprocess.PIPE
    )
    lines, _ = await listing.communicate()
    return [int(line.split()[0]) for line in lines.decode().splitlines() if "quart_counter.serving.worker" in line]


async def test_connections_to_other_workers_notice_nothing(own_redis: LocalServer) -> None:
    two = serve("--url", own_redis.url, "--workers", "2", QUART_COUNTER_LAB="1")
    async with two as served, connect(served.url) as ours:
        worker = int((await ours.ask("POST", INCREMENT)).header("x-worker") or 0)
        (other,) = [pid for pid in served.workers if pid != worker]
        os.kill(other, signal.SIGKILL)
        await served.says(f"worker {other} was killed")
        for _ in range(50):
            assert (await ours.ask("POST", INCREMENT)).status == 200


async def test_the_death_of_the_lock_worker_is_the_end() -> None:
    """Its numbers died with it: a new worker would hand out 1 again."""
    async with serve("--mode", "lock") as served:
        await ask(served.url, "POST", INCREMENT)
        os.kill(served.workers[0], signal.SIGKILL)
        assert await served.status() == 1
    assert "the numbers of mode lock died with it" in served.said[-1]
    assert "SIGKILL" in served.said[-1]


async def test_workers_wait_for_redis_to_come_back(own_redis: LocalServer) -> None:
    """One that cannot start is tried again, with longer and longer pauses."""
    async with serve("--url", own_redis.url) as served:
        assert (await ask(served.url, "POST", INCREMENT)).json["value"] == 1
        own_redis.kill()
        os.kill(served.workers[0], signal.SIGKILL)
        await served.says(r"worker \d+ ended with status 2: Redis does not answer")
        await asyncio.to_thread(own_redis.start)
        async with asyncio.timeout(20):
            assert (await ask(served.url, "POST", INCREMENT)).json["value"] == 2
        assert served.process.returncode is None
        assert not [line for line in served.said if "Traceback" in line]


async def test_the_workers_do_not_outlive_their_parent() -> None:
    async with serve("--workers", "2", "--force") as served, connect(served.url) as idle:
        assert len(served.workers) == 2
        assert (await idle.ask("GET", "/healthz")).status == 200
        served.process.kill()
        await served.process.wait()

        async def gone() -> bool:
            return not any(map(alive, served.workers))

        await eventually(gone)


async def test_closed_connections_are_let_go() -> None:
    """Hypercorn alone keeps each of them, and its file descriptor, for keep_alive_timeout."""
    async with serve() as served:
        fds = f"/proc/{served.workers[0]}/fd"
        before = len(os.listdir(fds))
        for _ in range(50):
            await ask(served.url, "POST", INCREMENT)

        async def let_go() -> bool:
            return len(os.listdir(fds)) <= before + 1

        await eventually(let_go)


# ---- the service stops ----


@pytest.mark.parametrize("mode", ["--mode lock", "--with-redis --workers 2"])
async def test_sigterm_cuts_nobody(mode: str) -> None:
    """Every request that was sent is answered; afterwards the door is closed."""
    async with serve(*mode.split()) as served:
        async with Load(served.url).running(clients=40) as load:
            served.signal(signal.SIGTERM)
            assert await served.status() == 0
        assert load.became.keys() == {"200", "refused"}
        assert sorted(load.values) == list(range(1, len(load.values) + 1))
    assert served.said[-1].startswith("stopping")


async def test_sigterm_waits_for_a_slow_request() -> None:
    async with serve() as served, connect(served.url) as slow:
        await slow.send(request("POST", INCREMENT, [("Content-Type", "application/json"), ("Content-Length", "9")]))
        served.signal(signal.SIGTERM)
        await served.says("stopping")
        await asyncio.sleep(1)  # well into the drain
        await slow.send(b'{"by": 7}')
        reply = await slow.reply()
        assert (reply.json["value"], reply.says_close) == (7, True)
        assert await served.status() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_idle_connections_do_not_hold_it(how: signal.Signals) -> None:
    async with serve() as served, connect(served.url) as idle, connect(served.url), connect(served.url) as half:
        await idle.ask("POST", INCREMENT)
        await half.send(b"POST /counters")
        assert await stopped(served, how) < (QUICK_S if how is signal.SIGINT else QUICK_S + FAREWELL_S)


async def stopped(served: Served, how: signal.Signals) -> float:
    """Signal, and return how many seconds its clean end took."""
    since = time.monotonic()
    served.signal(how)
    assert await served.status() == 0
    return time.monotonic() - since


async def test_ctrl_c_does_not_wait_for_a_slow_body() -> None:
    """It is told so in HTTP's own words, and nothing was counted."""
    async with serve() as served, connect(served.url) as slow:
        key = [("Content-Type", "application/json"), ("Content-Length", "9"), ("Idempotency-Key", "k-1")]
        await slow.send(request("POST", INCREMENT, key))
        await asyncio.sleep(0.1)  # the head is surely read
        stopping = asyncio.create_task(stopped(served, signal.SIGINT))
        reply = await slow.reply()
        assert (reply.status, reply.json["applied"], reply.json["key"]) == (504, "unknown", "k-1")
        assert await stopping < QUICK_S


async def test_ctrl_c_does_not_wait_for_a_store_that_is_away(own_redis: LocalServer) -> None:
    async with serve("--url", own_redis.url) as served, connect(served.url) as waiting:
        await waiting.ask("POST", INCREMENT)
        os.kill(own_redis.pid, signal.SIGSTOP)
        await waiting.send(request("POST", INCREMENT))
        await asyncio.sleep(0.1)  # it is surely under way
        try:
            assert await stopped(served, signal.SIGINT) < QUICK_S
        finally:
            os.kill(own_redis.pid, signal.SIGCONT)
        assert (await waiting.reply()).json["applied"] == "unknown"


async def test_ctrl_c_ends_a_patient_stop() -> None:
    async with serve() as served, connect(served.url) as slow:
        await slow.send(request("POST", INCREMENT, [("Content-Length", "9")]))
        served.signal(signal.SIGTERM)
        await served.says("stopping")
        assert await stopped(served, signal.SIGINT) < QUICK_S


async def test_ctrl_c_while_it_waits_for_redis(own_redis: LocalServer) -> None:
    """The pause before the next try is no reason to wait."""
    async with serve("--url", own_redis.url) as served:
        own_redis.kill()
        os.kill(served.workers[0], signal.SIGKILL)
        await served.says("ended with status 2")
        assert await stopped(served, signal.SIGINT) < QUICK_S


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_before_it_is_up_is_a_clean_stop_too(how: signal.Signals) -> None:
    async with started("serve", "--bind", "127.0.0.1:0") as served:

        async def has_a_worker() -> bool:
            return bool(await children(served))

        await eventually(has_a_worker)
        served.signal(how)
        assert await served.status() == 0
        assert not [line for line in served.said if "Traceback" in line]


# ---- the store goes away ----


async def test_redis_away_and_back(own_redis: LocalServer) -> None:
    """503 and 504 say truly what happened, nobody hangs, and afterwards the count goes on."""
    short = {"QUART_COUNTER_DEADLINE_S": "1.5", "QUART_COUNTER_STORE_TIMEOUT_S": "0.5"}
    async with serve("--url", own_redis.url, "--workers", "2", **short) as served:
        assert (await ask(served.url, "GET", "/readyz")).json["ready"] is True
        assert (await ask(served.url, "POST", INCREMENT)).json["value"] == 1
        async with Load(served.url).running() as load:
            own_redis.kill()
            away = await ask(served.url, "GET", "/readyz")
            assert (away.status, away.json["ready"]) == (503, False)
            assert "Redis does not answer" in away.json["detail"]
            assert (await ask(served.url, "GET", "/healthz")).status == 200
            since = time.monotonic()
            told = await ask(served.url, "POST", INCREMENT)
            assert time.monotonic() - since < 2 * 1.5 + 1.0
            assert (told.status, told.json["applied"]) in {(503, "no"), (504, "unknown")}
            read = await ask(served.url, "GET", "/counters/tickets")
            assert (read.status, read.json["detail"]) == (503, "Redis does not answer. Try again.")
            for reply in (told, read, await ask(served.url, "GET", "/", [("Accept", "text/html")])):
                assert reply.body.find(str(urlsplit(own_redis.url).port).encode()) == -1, reply.body
            await served.says(r"Redis does not answer \(.+\)")  # the log knows why
            await asyncio.to_thread(own_redis.start)

            async def ready() -> bool:
                return (await ask(served.url, "GET", "/readyz")).status == 200

            await eventually(ready)
            now = len(load.values)
            await eventually(lambda: grown(load, now + 100))
        assert load.became.keys() <= {"200", "503", "504"}
        final = (await ask(served.url, "GET", "/counters/tickets")).json["value"]
        assert len(load.values) == len(set(load.values))
        # the first one and all that were answered were counted; those of unknown outcome may have been
        assert len(load.values) + 1 <= final <= len(load.values) + 1 + load.became["504"] + (told.status == 504)


# ---- other ways to start ----


async def test_with_redis_brings_its_own() -> None:
    async with serve("--with-redis", "--workers", "2") as served:
        port = int((await served.says(r"store\s+redis://:\*\*\*@127\.0\.0\.1:(\d+)/0"))[1])
        values = [(await ask(served.url, "POST", INCREMENT)).json["value"] for _ in range(10)]
        assert values == list(range(1, 11))
        with pytest.raises(ServerFailed, match="NOAUTH"):  # every user of the machine reaches the port
            await asyncio.to_thread(resp.ask, port, "HSET", "qc:{tickets}", "value", "41")
        assert await stopped(served, signal.SIGTERM) < 5
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
