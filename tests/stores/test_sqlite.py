"""SQLite's difference: a file, its locks, a disk that fills up, threads, and a process that dies in mid-commit."""

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from quart_counter.errors import ConfigurationError
from quart_counter.model import Applied, Change, NotApplied, OutcomeUnknown, Reading, Refused
from quart_counter.stores import Limits, StoreAway, open_store
from quart_counter.stores.sqlite import file as sqlite_file
from quart_counter.stores.sqlite.file import JOURNAL
from stores.writers import TESTS, processes_add

ADD_FOR_EVER = """
import asyncio, sys
from quart_counter.model import Change
from quart_counter.stores import open_store

async def main():
    async with open_store(sys.argv[1]) as store:
        while True:
            outcomes = await store.apply([Change("n", key="k%d" % i) for i in range(3)] + [Change("n"), Change("m")])
            print(outcomes[3].value, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters.db"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:{path}"


@pytest.fixture
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program on the same file."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    yield connection
    connection.close()


async def test_the_file_is_for_its_user_alone(url, path, open_handed):
    """Whoever may read it may begin to, and not end: no change could be committed."""
    async with open_store(url) as store:
        await store.apply([Change("n")])
        beside = [one.stat().st_mode & 0o777 for one in path.parent.iterdir()]
    assert set(beside) == {0o600}


async def test_the_mode_of_a_file_that_is_there_stays(url, path, open_handed):
    path.touch(0o640)
    async with open_store(url) as store:
        await store.apply([Change("n")])
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("url", ["sqlite:{}", "sqlite://{}"], ids=["sqlite:/", "sqlite:///"])
async def test_both_ways_of_writing_a_path(path, url):
    async with open_store(url.format(path)) as store:
        await store.apply([Change("n")])
    assert path.exists()


async def test_a_relative_path_is_a_file_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with open_store("sqlite:here.db"):
        assert (tmp_path / "here.db").exists()


async def test_a_question_mark_is_a_letter_of_the_file_s_name(tmp_path):
    async with open_store(f"sqlite:{tmp_path}/a?mode=memory") as store:
        await store.apply([Change("n")])
    assert (tmp_path / "a?mode=memory").exists()


@pytest.mark.parametrize("url", ["sqlite:", "sqlite::memory:", "sqlite://relative/file.db"])
async def test_a_url_that_names_no_file(url):
    with pytest.raises(ConfigurationError, match=r"sqlite:"):
        await open_store(url).__aenter__()


@pytest.mark.parametrize("place", ["missing/counters.db", "", "/dev/null/counters.db", "/proc/counters.db"])
async def test_a_place_where_no_file_can_be(tmp_path, place):
    with pytest.raises(ConfigurationError, match="name one in a folder that exists and may be written"):
        await open_store(f"sqlite:{tmp_path / place}").__aenter__()


async def test_a_file_that_is_no_database(path, url):
    path.write_text("a letter to a friend, and long enough to be read as a header of something\n" * 20)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="file is not a database"):
        await open_store(url).__aenter__()
    assert path.read_bytes() == before


async def test_a_database_of_another_program_is_left_alone(path, url, raw):
    raw.execute("CREATE TABLE recipes (name)")
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is a SQLite database of another program: name another file"):
        await open_store(url).__aenter__()
    assert path.read_bytes() == before


async def test_a_layout_of_the_future(url, raw):
    async with open_store(url):
        pass
    raw.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigurationError, match="has layout 2, and this version of quart-counter knows 1"):
        await open_store(url).__aenter__()


async def test_the_disk_is_asked_to_be_sure(url):
    async with open_store(url) as store:
        db = await store._writing.run(lambda: store._writer._connected(0.0), 1.0)

        def settings() -> tuple[object, ...]:
            return db.execute("PRAGMA synchronous").fetchone() + db.execute("PRAGMA journal_mode").fetchone()

        assert await store._writing.run(settings, 1.0) == (2, JOURNAL)  # 2 is FULL
        assert store.guarantees.durable == "power_loss"
    assert (JOURNAL == "wal") == (sqlite3.sqlite_version_info >= (3, 51, 3))


async def test_eight_workers_create_one_file_at_once(url):
    async def worker() -> list:
        async with open_store(url) as store:
            return await store.apply([Change("n")])

    answers = await asyncio.gather(*(worker() for _ in range(8)))
    assert sorted(answers) == [[Applied(i, i)] for i in range(1, 9)]


async def test_two_processes_with_50_writers_each(url):
    readings = await processes_add(url, "n", processes=2, writers=50, each=40)
    assert sorted(readings) == [Reading(i, i) for i in range(1, 4001)]


@pytest.mark.soak
async def test_two_processes_with_50_writers_each_in_full(url):
    readings = await processes_add(url, "n", processes=2, writers=50, each=200)
    assert sorted(readings) == [Reading(i, i) for i in range(1, 20_001)]


async def test_one_lone_writer_beside_a_busy_process_is_not_starved(url):
    """Its whole run fits into the other's: it gets its turns."""
    crowd, loner = await asyncio.gather(
        processes_add(url, "n", processes=1, writers=50, each=60),
        processes_add(url, "m", processes=1, writers=1, each=20),
    )
    assert (len(crowd), len(loner)) == (3000, 20)


@pytest.mark.parametrize("crash", range(5))
async def test_acknowledged_is_kept_when_a_process_dies_in_mid_commit(url, raw, crash):
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ADD_FOR_EVER, url),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent)},
    )
    try:
        for _ in range(10 + crash):
            answered = int(await child.stdout.readline())
    finally:
        child.send_signal(signal.SIGKILL)
    answered = int(([str(answered), *(await child.stdout.read()).decode().split()])[-1])
    await child.wait()
    async with open_store(url) as store:
        value, version = await store.read("n")
        assert value == version
        assert value - answered in (0, 1)  # the one in flight, whole or not at all
        assert (await store.read("m")).value == value - 3
        assert await store.apply([Change("n", key="k0")]) == [Applied(1, 1, replayed=True)]
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_another_process_s_transaction_is_waited_for(url, raw):
    async with open_store(url) as store:
        raw.execute("BEGIN IMMEDIATE")
        flush = asyncio.create_task(store.apply([Change("n")]))
        await asyncio.sleep(0.05)
        assert not flush.done()
        raw.execute("COMMIT")
        assert await flush == [Applied(1, 1)]


async def test_a_reader_in_the_way_of_the_commit_is_waited_for(url, raw):
    async with open_store(url) as store:
        await store.apply([Change("n")])
        raw.execute("BEGIN")
        raw.execute("SELECT * FROM counters").fetchone()
        flush = asyncio.create_task(store.apply([Change("n")]))
        await asyncio.sleep(0.05)
        raw.execute("COMMIT")
        assert await flush == [Applied(2, 2)]


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
async def test_a_lock_that_outlives_the_deadline_is_told_as_not_applied(url, raw, lock):
    async with open_store(url, Limits(store_timeout_s=0.1, deadline_s=0.2)) as store:
        await store.apply([Change("n")])
        raw.execute(lock)
        (outcome,) = await store.apply([Change("n")])
        raw.execute("ROLLBACK")
        assert outcome == NotApplied("SQLite could not write it (database is locked)")
        assert await store.read("n") == Reading(1, 1)
        assert await store.apply([Change("n")]) == [Applied(2, 2)]


@pytest.mark.skipif(JOURNAL == "wal", reason="with a WAL, readers are in nobody's way")
async def test_a_commit_that_never_gets_its_turn_is_undone(url, raw):
    async with open_store(url, Limits(store_timeout_s=0.3, deadline_s=1.0)) as store:
        await store.apply([Change("n")])
        raw.execute("BEGIN")
        raw.execute("SELECT * FROM counters").fetchone()
        (outcome,) = await store.apply([Change("n")])
        assert outcome == NotApplied("SQLite could not write it (database is locked)")
        raw.execute("COMMIT")
        assert await store.apply([Change("n")]) == [Applied(2, 2)]


async def test_a_full_disk_loses_nothing(url, raw):
    async with open_store(url) as store:
        await store.apply([Change("n", key="first")])

        def limit_pages() -> None:
            db = store._writer._connected(0.0)
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages + 2}")

        await store._writing.run(limit_pages, 1.0)
        outcomes = await store.apply([Change("n", key=f"{i}{'x' * 240}") for i in range(500)])
        assert outcomes == [NotApplied("SQLite could not write it (database or disk is full)")] * 500
        assert await store.read("n") == Reading(1, 1)
        assert await store.apply([Change("n", key="first"), Change("n")]) == [Applied(1, 1, True), Applied(2, 2)]
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_a_flush_that_never_began_is_not_applied_and_never_will_be(url):
    release = threading.Event()
    async with open_store(url, Limits(store_timeout_s=0.05, deadline_s=0.1)) as store:
        busy = asyncio.create_task(store._writing.run(release.wait, 10.0))
        await asyncio.sleep(0)
        (outcome,) = await store.apply([Change("n")])
        assert outcome == NotApplied("SQLite was busy with earlier changes until the deadline")
        release.set()
        await busy
        assert await store.apply([Change("n")]) == [Applied(1, 1)]


async def test_a_flush_that_is_stuck_in_the_disk_is_unknown(url, monkeypatch):
    release = threading.Event()
    async with open_store(url, Limits(store_timeout_s=0.05, deadline_s=0.1)) as store:
        decide = sqlite_file.decide
        monkeypatch.setattr(sqlite_file, "decide", lambda *given: release.wait() and decide(*given))
        (outcome,) = await store.apply([Change("n")])
        assert outcome == OutcomeUnknown("SQLite did not come back from the disk in time")
        release.set()
        assert await store.apply([Change("n")]) == [Applied(2, 2)]  # it was applied after all


async def test_a_commit_that_fails_in_the_disk_is_unknown(url, monkeypatch):
    async with open_store(url) as store:
        await store.apply([Change("n")])

        def fail(step, until):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            db = store._writer._db
            if db is not None and db.in_transaction:
                raise error
            return step()

        monkeypatch.setattr(sqlite_file, "_patiently", fail)
        (outcome,) = await store.apply([Change("n")])
        assert outcome == OutcomeUnknown("SQLite could not write it (disk I/O error)")


async def test_a_file_that_another_program_locks_cannot_be_read_for_ever(url, raw):
    async with open_store(url, Limits(store_timeout_s=0.1, deadline_s=0.2)) as store:
        raw.execute("BEGIN EXCLUSIVE")
        if JOURNAL == "truncate":
            with pytest.raises(StoreAway, match="SQLite could not do it"):
                await store.read("n")
            with pytest.raises(StoreAway, match="SQLite could not do it"):
                await store.forget("n")


async def test_keys_that_ended_are_swept_up(url, raw):
    limits = Limits(store_timeout_s=0.05, deadline_s=0.1, key_life_s=0.21)
    async with open_store(url, limits) as store:
        await store.apply([Change("n", key=str(i)) for i in range(10)] + [Change("other", key="k")])
        await asyncio.sleep(0.43)
        await store.apply([Change("n", key="new")])
    assert raw.execute("SELECT name, key FROM keys").fetchall() == [("n", "new")]


async def test_a_counter_that_was_never_begun_goes_with_its_keys(url, raw):
    """Made-up names with keys fill up nothing."""
    limits = Limits(store_timeout_s=2.0, deadline_s=4.0, key_life_s=0.21)
    refused = Change("never", by=5, limit=1, key="k")
    async with open_store(url, limits) as store:
        await store.apply([refused, Change("begun", key="k")])
        await asyncio.sleep(0.43)
        await store.apply([Change("n", key="new")])
        assert raw.execute("SELECT name FROM counters ORDER BY name").fetchall() == [("begun",), ("n",)]
        assert await store.apply([refused, refused]) == [Refused("bound", 0, 0), Refused("bound", 0, 0, replayed=True)]


async def test_its_threads_end_with_it(url):
    async with open_store(url) as store:
        await store.apply([Change("n")])
        await store.read("n")
        assert len(own_threads()) == 2
    assert own_threads() == []


async def test_a_store_that_could_not_be_opened_leaves_no_thread(tmp_path):
    with pytest.raises(ConfigurationError):
        await open_store(f"sqlite:{tmp_path}/missing/counters.db").__aenter__()
    assert own_threads() == []


def own_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("quart-counter-sqlite")]


async def test_a_cancelled_caller_s_flush_is_whole_or_never_begun(url):
    async with open_store(url) as store:
        for _ in range(30):
            caller = asyncio.create_task(store.apply([Change("n"), Change("m")]))
            await asyncio.sleep(0.0003)
            caller.cancel()
            await asyncio.wait([caller])
        first, second = await store.apply([Change("n"), Change("m")])
        assert first == second
