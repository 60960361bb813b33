"""Every way of getting it wrong is caught, and called by its name, each time; what is right is left alone."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable

import pytest
from quart import Quart
from servers import require

from quart_counter.errors import ConfigurationError
from quart_counter.lab import exhibits, steps
from quart_counter.lab.backends import backend, line_to
from quart_counter.lab.exhibits import memory
from quart_counter.lab.exhibits.gate import Gate, ThreadGate
from quart_counter.lab.exhibits.plain import Plain
from quart_counter.lab.race import Entry, against, entries, lab_settings, run, running
from quart_counter.model import Change, OutcomeUnknown
from quart_counter.settings.modes import MODES
from quart_counter.stores.base import Limits, StoreAway

TIMES = 3
CLIENTS = 30
EXHIBITS = [name for name, mode in MODES.items() if mode.exhibit]
# What a reader is told to expect; the lab itself computes it from what each store declares.
RIGHT_ON_ONE_WORKER = {"bare": "SAFE", "thread": "SAFE" if memory.gil_enabled() else "RACY"}
SERVERS = {"redis-get-set": "redis", "redis-retry": "redis", "memcached-get-set": "memcached"}


def told(entry: Entry) -> str:
    if entry.mode in ("g", "app-context") or (MODES[entry.mode].per_client and not entry.one_client):
        return "SCOPED"
    return RIGHT_ON_ONE_WORKER.get(entry.mode, "RACY") if entry.workers == 1 else "RACY"


@pytest.mark.parametrize("mode", EXHIBITS)
async def test_an_exhibit_is_labelled_as_expected_every_time(mode):
    if mode in SERVERS:
        require(SERVERS[mode])
    with backend(mode) as private:
        async with line_to(mode, private.url) as url:
            for entry in entries(mode, workers=1):
                async with running(lab_settings(entry, url)) as service:
                    rows = [await against(service, entry, clients=CLIENTS, requests=CLIENTS) for _ in range(TIMES)]
                assert [row.verdict for row in rows] == [told(entry)] * TIMES
                assert all(row.as_expected for row in rows)


@pytest.mark.parametrize("mode", ["bare", "thread", "cache", "g"])
async def test_with_two_workers_what_was_right_is_wrong(mode):
    with backend(mode) as private:
        (entry,) = entries(mode, workers=2)
        async with running(lab_settings(entry, private.url)) as service:
            rows = [await against(service, entry, clients=CLIENTS, requests=CLIENTS) for _ in range(TIMES)]
    assert [row.verdict for row in rows] == [told(entry)] * TIMES
    assert all(row.as_expected for row in rows)


async def test_a_lost_reply_is_counted_again_by_a_client_that_retries():
    require("redis")
    with backend("redis-retry") as private:
        row = await run(Entry("redis-retry", 1), url=private.url, clients=CLIENTS, requests=CLIENTS)
    counts = row.judged.anomalies
    assert counts["overcount"] == counts["skipped"] > 0
    assert (counts["duplicate"], counts["lost"]) == (0, 0)


def test_the_question_s_own_class_counts():
    here = memory.SomeObj(0)
    assert [here.query() for _ in range(3)] == [1, 2, 3]


async def crowd_of_threads() -> set[int]:
    """The different answers that 30 requests get from the global in threads, all at once, as the lab asks."""
    steps.begin()
    async with memory.open_store("thread", Limits()) as store:
        answers = await asyncio.gather(*(store.apply([Change("tickets")]) for _ in range(CLIENTS)))
    return {answer.value for (answer,) in answers}


async def test_threads_that_can_be_interrupted_are_caught(monkeypatch):
    def interruptible(self: memory.SomeObj, by: int = 1) -> int:
        before = self.param
        time.sleep(0.001)  # what a call in the middle of the two lines may do
        self.param = before + by
        return self.param

    monkeypatch.setattr(memory.SomeObj, "query", interruptible)
    assert len(await crowd_of_threads()) < CLIENTS


@pytest.mark.skipif(not memory.gil_enabled(), reason="without the GIL the two lines race")
async def test_the_question_s_two_lines_cannot_be_interrupted_under_the_gil():
    assert await crowd_of_threads() == set(range(1, CLIENTS + 1))


@pytest.mark.parametrize("gil", [True, False])
def test_what_threads_promise_depends_on_the_interpreter(gil):
    promises = memory._InThreads(gil).guarantees
    assert (promises.scope, promises.atomic) == ("process", gil)


@pytest.mark.parametrize(("scope", "workers", "atomic", "label"), [
    ("request", 1, True, "SCOPED"),
    ("process", 1, True, "SAFE"),
    ("process", 1, False, "RACY"),
    ("process", 2, True, "RACY"),
    ("host", 2, True, "SAFE"),
    ("network", 2, False, "RACY"),
])  # fmt: skip
def test_what_is_expected_follows_from_what_is_declared(scope, workers, atomic, label):
    assert Entry("lock", workers).expected({"scope": scope, "atomic": atomic}) == label


@pytest.mark.parametrize("mode", EXHIBITS)
async def test_every_exhibit_says_what_it_promises(mode):
    if mode in SERVERS:
        require(SERVERS[mode])
    with backend(mode) as private:
        async with exhibits.open_store(mode, private.url, Limits()) as store:
            promises = store.guarantees
    right = mode in ("bare", "g", "app-context") or (mode == "thread" and memory.gil_enabled())
    assert promises.atomic is right
    assert promises.scope == {"g": "request", "app-context": "request", "cookie": "client"}.get(
        mode, {"memory": "process", "redis": "network", "memcached": "network"}.get(MODES[mode].schemes[0], "host")
    )


@pytest.mark.parametrize("mode", ["g", "app-context"])
async def test_a_number_on_the_context_ends_with_its_request(mode):
    app = Quart(__name__)
    async with exhibits.open_store(mode, "memory:", Limits()) as store:

        @app.post("/")
        async def home() -> str:
            (answer,) = await store.apply([Change("tickets")])
            return str(answer.value)

        client = app.test_client()
        assert [await (await client.post("/")).get_data(as_text=True) for _ in range(3)] == ["1", "1", "1"]


class _Broken(Plain):
    async def _change(self, change: Change) -> int:
        raise OSError("the disk is full")

    async def _value(self, name: str) -> int:
        raise OSError("the disk is gone")


async def test_an_exhibit_that_fails_says_that_it_does_not_know():
    assert await _Broken().apply([Change("tickets")]) == [
        OutcomeUnknown("the store does not answer (the disk is full)")
    ]
    with pytest.raises(StoreAway, match="the disk is gone"):
        await _Broken().read("tickets")


def test_a_missing_package_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cachelib", None)
    monkeypatch.delitem(sys.modules, "quart_counter.lab.exhibits.cache", raising=False)
    monkeypatch.delattr(exhibits, "cache", raising=False)
    with pytest.raises(ConfigurationError, match=r"mode cache needs the package cachelib: run pip install"):
        exhibits.open_store("cache", "file:anywhere", Limits())


async def test_a_manager_that_is_gone_is_told():
    with pytest.raises(ConfigurationError, match="the manager does not answer"):
        async with exhibits.open_store("manager-proxy", "manager://:00@/nowhere/socket", Limits()):
            pass


async def test_a_gate_opens_for_a_crowd_at_once_and_for_fewer_after_a_while():
    gate = Gate(crowd=3, patience_s=60)
    await asyncio.wait_for(asyncio.gather(*(gate.wait() for _ in range(3))), timeout=5)
    assert await took(Gate(crowd=3, patience_s=0.02).wait) >= 0.02


async def took(wait: Callable[[], object]) -> float:
    start = time.monotonic()
    await wait()
    return time.monotonic() - start


def test_a_gate_for_threads_does_the_same():
    gate = ThreadGate(crowd=3, patience_s=60)
    threads = [threading.Thread(target=gate.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    impatient = ThreadGate(crowd=3, patience_s=0.02)
    impatient.wait()
    impatient.wait()  # it closes again
