"""What is special about a manager: a process of ours, which may be stopped, killed or left alone, and a key to it."""

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from quart_counter.errors import ConfigurationError
from quart_counter.model import Applied, Change, NotApplied, OutcomeUnknown, Reading
from quart_counter.settings.secret import without_secret
from quart_counter.stores import Limits, StoreAway, open_store
from quart_counter.stores.manager.process import KINDS, Numbers, RunningManager, private_manager
from stores.contract import fresh
from stores.writers import TESTS, processes_add

QUICK = Limits(store_timeout_s=0.2, deadline_s=0.5, key_life_s=60.0)
PATIENT = Limits(store_timeout_s=0.2, deadline_s=5.0, key_life_s=60.0)
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}


@pytest.fixture
def own() -> Iterator[RunningManager]:
    """A manager that a test may stop and kill."""
    with private_manager() as manager:
        yield manager
        manager.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("each", [40, pytest.param(200, marks=pytest.mark.soak)])
async def test_two_processes_of_50_writers_hand_out_every_number_once(shared_manager, each):
    answers = await processes_add(shared_manager.url, fresh(), processes=2, writers=50, each=each)
    assert sorted(answers) == [Reading(i, i) for i in range(1, 100 * each + 1)]


def python(code: str) -> subprocess.Popen:
    """A process of its own that can be killed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, **pipes)


CLIENT = """
import asyncio, sys
from quart_counter.model import Change
from quart_counter.stores import open_store
async def main():
    async with open_store(sys.stdin.readline().strip()) as store:
        await store.apply([Change("tickets")])
        print("warm", flush=True)
        sys.stdin.readline()
        print("asking", flush=True)
        await store.apply([Change("tickets")])
asyncio.run(main())
"""


async def test_a_client_killed_in_the_middle_of_a_call_leaves_no_lock(own):
    """The manager stands still while the call arrives, and the caller is dead before it goes on."""
    client = python(CLIENT)
    async with open_store(own.url) as store:
        client.stdin.write(f"{own.url}\n".encode())
        client.stdin.flush()
        assert client.stdout.readline() == b"warm\n"
        freeze(own.process.pid)
        client.stdin.write(b"go\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"asking\n"
        await asyncio.sleep(0.05)
        client.kill()
        client.communicate()
        own.process.send_signal(signal.SIGCONT)
        (after,) = await store.apply([Change("tickets")])
        assert after in (Applied(2, 2), Applied(3, 3)), "the dead one's change counted once or not at all"
        assert await store.apply([Change("tickets")]) == [Applied(after.value + 1, after.version + 1)]


def freeze(child: int) -> None:
    """Stop the process and return when it stands still: a signal takes effect when its target is next scheduled."""
    os.kill(child, signal.SIGSTOP)
    os.waitid(os.P_PID, child, os.WSTOPPED)


async def test_a_manager_that_stands_still_for_a_while_costs_a_retry_and_not_a_count(own):
    async with open_store(own.url, PATIENT) as store:
        await store.apply([Change("tickets")])
        freeze(own.process.pid)
        waiting = asyncio.create_task(store.apply([Change("tickets"), Change("tickets", key="k")]))
        with pytest.raises(StoreAway):
            await store.read("tickets")
        await asyncio.sleep(0.5)
        assert not waiting.done()
        own.process.send_signal(signal.SIGCONT)
        assert await waiting == [Applied(2, 2), Applied(3, 3)]
        assert await store.apply([Change("tickets")]) == [Applied(4, 4)]


async def test_a_manager_that_stands_still_hangs_nobody(own):
    async with open_store(own.url, QUICK) as store:
        await store.apply([Change("tickets")])
        freeze(own.process.pid)
        (unknown,) = await store.apply([Change("tickets")])
        assert isinstance(unknown, OutcomeUnknown)
        with pytest.raises(StoreAway):
            await store.names()
        with pytest.raises(ConfigurationError, match="the manager does not answer"):
            async with open_store(own.url, QUICK):
                pass


async def test_a_manager_that_died_is_told(own):
    async with open_store(own.url, QUICK) as store:
        await store.apply([Change("tickets")])
        own.process.kill()
        own.process.wait()
        (first,) = await store.apply([Change("tickets")])
        assert isinstance(first, OutcomeUnknown), "it may have died after it counted"
        (then,) = await store.apply([Change("tickets")])
        assert isinstance(then, NotApplied)
        with pytest.raises(StoreAway, match="the manager does not answer"):
            await store.read("tickets")


async def test_the_death_of_the_manager_is_noticed(own):
    gone = asyncio.Event()
    with own.watched(gone.set):
        assert not gone.is_set()
        own.process.kill()
        async with asyncio.timeout(5):
            await gone.wait()


PARENT = """
import sys, time
from quart_counter.stores.manager.process import private_manager
with private_manager() as manager:
    print(manager.process.pid, manager.url, flush=True)
    time.sleep(600)
"""


def exists(pid: int) -> bool:
    """Whether the process runs; one that ended and that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(done, *, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not done():  # noqa: ASYNC110  # the end of somebody else's child sets no event
            await asyncio.sleep(0.01)


async def test_a_manager_vanishes_with_the_process_that_started_it():
    parent = python(PARENT)
    pid, url = parent.stdout.readline().split()
    folder = Path(urlsplit(url.decode()).path).parent
    assert exists(int(pid))
    assert folder.exists()
    parent.kill()
    parent.communicate()
    await until(lambda: not exists(int(pid)) and not folder.exists())


async def test_the_signals_of_a_service_manager_are_for_the_workers(own):
    async with open_store(own.url) as store:
        for one in (signal.SIGTERM, signal.SIGINT):
            own.process.send_signal(one)
        assert await store.apply([Change("tickets")]) == [Applied(1, 1)]


async def test_one_of_its_own_for_one_process():
    async with open_store("manager:") as one, open_store("manager:") as other:
        await one.apply([Change("tickets")])
        assert await other.read("tickets") == Reading(0, 0)
        assert one.guarantees.scope == "process"
        assert any("serve --mode manager" in note for note in one.guarantees.notes)


async def test_a_shared_one_has_the_scope_of_its_host(own):
    async with open_store(own.url) as store:
        stated = store.guarantees
    assert (stated.scope, stated.durable, stated.exactly_once) == ("host", "none", True)


def test_its_folder_and_its_key_are_private(own):
    parts = urlsplit(own.url)
    assert stat.S_IMODE(Path(parts.path).parent.stat().st_mode) == 0o700
    assert len(parts.password) == 64
    assert parts.password not in without_secret(own.url)
    assert parts.password.encode() not in Path(f"/proc/{own.process.pid}/cmdline").read_bytes()
    assert parts.password.encode() not in Path(f"/proc/{own.process.pid}/environ").read_bytes()


async def test_another_key_opens_nothing(own):
    parts = urlsplit(own.url)
    with pytest.raises(ConfigurationError, match="the manager does not answer") as raised:
        async with open_store(f"manager://:{'00' * 32}@{parts.path}"):
            pass
    assert "00000000" not in str(raised.value)


@pytest.mark.parametrize("url", ["manager:///nowhere", "manager://:nothex@/nowhere", "manager://:00@/nowhere"])
async def test_a_url_that_leads_nowhere(url):
    with pytest.raises(ConfigurationError, match="manager"):
        async with open_store(url, QUICK):
            pass


LIMITS = (1.0, 5.0, 60.0, 1000)


def test_a_flush_sent_again_is_answered_from_its_record_and_a_late_one_has_no_effect():
    numbers, row = Numbers(), tuple(Change("tickets"))
    first = numbers.apply("w", 1, LIMITS, [row])
    assert first == [(KINDS.index(Applied), 1, 1, False)]
    assert numbers.apply("w", 1, LIMITS, [row]) == first
    assert numbers.apply("other", 1, LIMITS, [row]) == [(0, 2, 2, False)]
    assert numbers.apply("w", 2, LIMITS, [row]) == [(0, 3, 3, False)]
    assert numbers.apply("w", 1, LIMITS, [row]) == []
    assert numbers.read("tickets") == (3, 3)


def test_the_threads_of_the_manager_take_turns():
    """It has one for each connection."""
    numbers, told = Numbers(), []
    switches = sys.getswitchinterval()

    def worker(name: str) -> None:
        for number in range(1, 301):
            told.extend(numbers.apply(name, number, LIMITS, [tuple(Change("tickets"))] * 3))

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=worker, args=(str(i),)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switches)
    assert sorted(value for _, value, _, _ in told) == list(range(1, 7201))


def test_the_records_of_workers_that_are_gone_are_dropped(monkeypatch):
    numbers = Numbers()
    for worker in range(50):
        numbers.apply(str(worker), 1, (0.01, 0.001, 60.0, 1000), [tuple(Change("tickets"))])
    monkeypatch.setattr("time.monotonic", lambda: 10.0**9)
    numbers.apply("new", 1, LIMITS, [tuple(Change("tickets"))])
    assert list(numbers._last) == ["new"]


def test_what_travels_is_plain():
    (outcome,) = Numbers().apply("w", 1, LIMITS, [tuple(Change("tickets"))])
    assert type(outcome) is tuple
    assert type(Numbers().read("tickets")) is tuple


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """`quart-counter serve --mode manager`, and what it said until it was ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quart_counter", "serve", "--mode", "manager", "--bind", "127.0.0.1:0", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=ENVIRONMENT,
    )
    said: list[str] = []
    try:
        while not said or "try " not in said[-1]:
            said.append((await process.stdout.readline()).decode())
            assert said[-1], said
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def children(pid: int) -> dict[int, str]:
    """The processes that `pid` started, with their command lines."""
    pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(one): Path(f"/proc/{one}/cmdline").read_text().replace("\0", " ") for one in pids}


def post(url: str) -> dict:
    with urlopen(Request(url, method="POST")) as answer:
        return json.load(answer)


def address(said: list[str]) -> str:
    return re.search(r"http://\S+", "".join(said))[0]


@pytest.mark.timeout(90)
async def test_serve_starts_one_manager_for_its_workers_and_ends_all():
    async with serving("--workers", "2") as (process, said):
        banner = "".join(said)
        assert "by every worker on this machine" in banner
        assert not re.search(r"[0-9a-f]{32}", banner), "the key is shown to nobody"
        started = children(process.pid)
        assert sum("stores.manager" in line for line in started.values()) == 1
        assert sum("quart_counter.serving.worker" in line for line in started.values()) == 2
        assert not re.search(r"[0-9a-f]{32}", "".join(started.values()))
        url = f"{address(said)}/counters/tickets/increment"
        answers = await asyncio.gather(*(asyncio.to_thread(post, url) for _ in range(100)))
        assert sorted(answer["value"] for answer in answers) == list(range(1, 101))
        process.terminate()
        assert await process.wait() == 0
        assert [pid for pid in started if exists(pid)] == []


@pytest.mark.timeout(90)
async def test_a_worker_that_is_killed_is_replaced_and_the_numbers_go_on():
    async with serving("--workers", "2") as (process, said):
        url = f"{address(said)}/counters/tickets/increment"
        assert [(await asyncio.to_thread(post, url))["value"] for _ in range(5)] == [1, 2, 3, 4, 5]
        before = children(process.pid)
        os.kill(next(pid for pid, line in before.items() if "quart_counter.serving.worker" in line), signal.SIGKILL)
        await until(lambda: set(children(process.pid)) - set(before), within_s=20)
        assert (await asyncio.to_thread(post, url))["value"] == 6
        process.terminate()
        assert await process.wait() == 0


@pytest.mark.timeout(90)
async def test_serve_does_not_go_on_without_its_manager():
    async with serving("--workers", "2") as (process, _):
        started = children(process.pid)
        os.kill(next(pid for pid, line in started.items() if "stores.manager" in line), signal.SIGKILL)
        told, _ = await process.communicate()
        assert process.returncode == 1
        assert b"the numbers of mode manager died with it" in told
        assert [pid for pid in started if exists(pid)] == []


@pytest.mark.timeout(90)
async def test_nothing_outlives_a_serve_that_is_killed():
    async with serving("--workers", "2") as (process, _):
        started = children(process.pid)
        process.kill()
        await process.wait()
        await until(lambda: not any(exists(pid) for pid in started), within_s=20)
