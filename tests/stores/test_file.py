"""What is special about files: a lock that dies with its holder, a replacement that is whole, a disk that fills up."""

import asyncio
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from quart_counter.errors import ConfigurationError
from quart_counter.model import Applied, Change, NotApplied, OutcomeUnknown, Reading
from quart_counter.stores import Limits, StoreAway, open_store
from quart_counter.stores.file import _guarantees, folder
from quart_counter.stores.file.folder import _decoded, _encoded
from stores.writers import TESTS, processes_add

QUICK = Limits(store_timeout_s=0.2, deadline_s=0.5, key_life_s=60.0)


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "counters"


@pytest.fixture
def url(place) -> str:
    return f"file:{place}"


def python(*lines: str) -> subprocess.Popen:
    """A process of its own that runs `lines` and can be killed."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    return subprocess.Popen([sys.executable, "-c", "\n".join(lines)], stdout=subprocess.PIPE, env=environment)


def kill(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("each", [40, pytest.param(200, marks=pytest.mark.soak)])
async def test_two_processes_of_50_writers_hand_out_every_number_once(url, each):
    answers = await processes_add(url, "tickets", processes=2, writers=50, each=each)
    assert sorted(answers) == [Reading(i, i) for i in range(1, 100 * each + 1)]


async def test_all_of_it_is_for_its_user_alone(url, place, open_handed):
    """Whoever may open a .lock, be it for reading, may hold it: the counter would stop."""
    async with open_store(url) as store:
        await store.apply([Change("tickets", key="k")])
        modes = {path.suffix.partition("-")[0]: path.stat().st_mode & 0o777 for path in place.iterdir()}
    assert modes.keys() >= {".count", ".lock", ".keys"}
    assert set(modes.values()) == {0o600}, modes
    assert place.stat().st_mode & 0o777 == 0o700


async def test_numbers_and_keys_are_there_after_everybody_left(url):
    async with open_store(url) as store:
        await store.apply([Change("tickets", 41), Change("tickets", key="k")])
    async with open_store(url) as store:
        assert await store.read("tickets") == Reading(42, 2)
        assert await store.apply([Change("tickets", key="k")]) == [Applied(42, 2, replayed=True)]


HOLDER = (
    "import time",
    "from pathlib import Path",
    "from quart_counter.stores import Limits",
    "from quart_counter.stores.file.folder import Folder",
    "with Folder(Path(PLACE), Limits())._holding('tickets'):",
    "    print('held', flush=True)",
    "    time.sleep(600)",
)


def holding(place: Path) -> subprocess.Popen:
    process = python(f"PLACE = {str(place)!r}", *HOLDER)
    assert process.stdout.readline() == b"held\n"
    return process


async def test_a_holder_that_is_killed_leaves_no_lock(url, place):
    async with open_store(url) as store:
        await store.apply([Change("tickets")])
        holder = holding(place)
        waiting = asyncio.create_task(store.apply([Change("tickets")]))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        kill(holder)
        assert await waiting == [Applied(2, 2)]


@pytest.mark.parametrize("patience_s", [0.2, 5.0])
async def test_a_holder_that_stands_still_delays_its_own_counter_only(url, place, patience_s):
    async with open_store(url, Limits(patience_s, deadline_s=0.5, key_life_s=60.0)) as store:
        holder = holding(place)
        try:
            held, free = await store.apply([Change("tickets"), Change("visits")])
        finally:
            kill(holder)
        assert isinstance(held, NotApplied)
        assert ("another process holds the lock of tickets" in held.because) == (patience_s < 0.5)
        assert free == Applied(1, 1)
        assert await store.apply([Change("tickets")]) == [Applied(1, 1)]


WRITER = (
    "import asyncio",
    "from quart_counter.model import Change",
    "from quart_counter.stores import open_store",
    "async def main():",
    "    async with open_store(f'file:{PLACE}') as store:",
    "        for i in range(10**9):",
    "            (one,) = await store.apply([Change('tickets', key=f'{ROUND}-{i}')])",
    "            print(one.value, f'{ROUND}-{i}', flush=True)",
    "asyncio.run(main())",
)


async def test_kill_9_in_the_middle_of_writing_leaves_the_old_state_or_the_new(url, place):
    """At whatever moment: every answered change is there, at most one unanswered, and their keys with them."""
    told: list[tuple[int, str]] = []
    value = 0
    for round_ in range(8):
        writer = python(f"PLACE, ROUND = {str(place)!r}, {round_}", *WRITER)
        answers = [writer.stdout.readline().split() for _ in range(3 + round_)]
        writer.kill()
        answers += [line.split() for line in writer.stdout if line.endswith(b"\n")]
        kill(writer)
        told += [(int(number), key.decode()) for number, key in answers]
        async with open_store(url) as store:
            after = await store.read("tickets")
            assert after.value == after.version
            assert value + len(answers) <= after.value <= value + len(answers) + 1
            value = after.value
    async with open_store(url) as store:
        assert sorted({number for number, _ in told}) == [number for number, _ in told], "each number once, rising"
        replays = await store.apply([Change("tickets", key=key) for _, key in told])
        assert replays == [Applied(number, number, replayed=True) for number, _ in told]
        assert (await store.read("tickets")).value == value


@pytest.mark.parametrize("step", ["append", "tmp", "replace"])
async def test_what_a_step_left_half_done_never_happened(url, place, step):
    """The moments of a kill, one by one: records appended, next file half written, next file whole."""
    async with open_store(url) as store:
        await store.apply([Change("tickets", key="a")])
    records = next(place.glob("tickets.keys-*"))
    with records.open("ab") as file:
        file.write(b"ghost 1,,,, applied 2 2\n" if step != "append" else b"ghost 1,,,, app")
    if step != "append":
        whole = (place / "tickets.count").read_bytes()
        (place / "tickets.tmp").write_bytes(whole if step == "replace" else whole[:9])
    async with open_store(url) as store:
        assert await store.read("tickets") == Reading(1, 1)
        assert await store.apply([Change("tickets", key="b")]) == [Applied(2, 2)]
    async with open_store(url) as store:
        assert await store.apply([Change("tickets", key="ghost")]) == [Applied(3, 3)], "its record did not count"
        assert await store.apply([Change("tickets", key=key) for key in "ab"]) == [
            Applied(1, 1, replayed=True),
            Applied(2, 2, replayed=True),
        ]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB. Where that takes rights we lack, the test after the one that asks for it does."""
    point = tmp_path / "disk"
    point.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", point], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk takes root")
    yield point
    subprocess.run(["umount", point], check=True)


async def test_a_full_disk_is_told_and_loses_nothing(small_disk):
    async with open_store(f"file:{small_disk}/counters") as store:
        assert store.guarantees.durable == "crash", "tmpfs forgets at a power cut"
        await store.apply([Change("tickets", 7), Change("tickets", key="kept")])
        with suppress(OSError), (small_disk / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        for change in (Change("tickets"), Change("tickets", key="new"), Change("never_seen")):
            (full,) = await store.apply([change])
            assert isinstance(full, NotApplied)
            assert "No space left" in full.because
        assert await store.read("tickets") == Reading(8, 2)
        assert await store.apply([Change("tickets", key="kept")]) == [Applied(8, 2, replayed=True)]
        (small_disk / "ballast").unlink()
        assert await store.apply([Change("tickets", key="new")]) == [Applied(9, 3)]


async def test_a_file_that_may_not_grow_is_told_and_loses_nothing(url):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with open_store(url) as store:
        await store.apply([Change("tickets", key="kept")])
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
        try:
            outcomes = await store.apply([Change("tickets", key=f"{i}{'k' * 200}") for i in range(20)])
            goes_on = await store.apply([Change("tickets"), Change("visits", key="k")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert {type(one) for one in outcomes} == {NotApplied}, "one step: all of it or nothing"
        assert "File too large" in outcomes[0].because
        assert goes_on == [Applied(2, 2), Applied(1, 1)]
        assert await store.apply([Change("tickets", key="kept")]) == [Applied(1, 1, replayed=True)]


async def test_one_counter_that_cannot_be_written_leaves_the_others_alone(url, place):
    async with open_store(url) as store:
        (place / "bad.tmp").mkdir(parents=True)
        bad, good = await store.apply([Change("bad"), Change("good")])
        assert isinstance(bad, NotApplied)
        assert good == Applied(1, 1)


@pytest.mark.parametrize("garbage", [b"", b"[]", b"{}", b'{"value": 1', b"\xff", b'{"value":1,"version":1,"keys":[]}'])
async def test_a_file_that_is_no_counters_is_left_as_it_is(url, place, garbage):
    async with open_store(url) as store:
        (place / "tickets.count").write_bytes(garbage)
        bad, good = await store.apply([Change("tickets"), Change("visits")])
        assert isinstance(bad, NotApplied)
        assert "tickets.count is not a counter's file" in bad.because
        assert good == Applied(1, 1)
        with pytest.raises(StoreAway, match=r"tickets\.count"):
            await store.read("tickets")
        assert (place / "tickets.count").read_bytes() == garbage


async def test_a_folder_that_was_taken_away_is_no_empty_one(url, place):
    """Its disk was unmounted: nothing there, or the bare folder below. A counter would begin at 1 again."""
    async with open_store(url, QUICK) as store:
        await store.apply([Change("tickets")])
        place.rename(place.with_name("elsewhere"))
        for _ in range(2):
            with pytest.raises(StoreAway):
                await store.read("tickets")
            (outcome,) = await store.apply([Change("tickets")])
            assert isinstance(outcome, NotApplied)
            place.mkdir(exist_ok=True)
        shutil.rmtree(place)
        place.with_name("elsewhere").rename(place)
        assert await store.apply([Change("tickets")]) == [Applied(2, 2)]


async def test_lost_key_records_are_told_not_counted_again(url, place):
    async with open_store(url) as store:
        await store.apply([Change("tickets", key="k")])
    next(place.glob("tickets.keys-*")).write_bytes(b"")
    async with open_store(url) as store:
        (lost,) = await store.apply([Change("tickets", key="k")])
        assert isinstance(lost, NotApplied)
        assert "shorter" in lost.because


async def test_a_disk_that_fails_after_the_replacement_leaves_the_outcome_unknown(url, monkeypatch):
    async with open_store(url) as store:

        def fails(path: Path) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(folder, "sync_folder", fails)
        (outcome,) = await store.apply([Change("tickets")])
        assert isinstance(outcome, OutcomeUnknown)


async def test_a_disk_that_hangs_hangs_nobody(url, monkeypatch):
    async with open_store(url, QUICK) as store:
        released = asyncio.Event()
        loop = asyncio.get_running_loop()
        sync = folder.sync

        def hangs(descriptor: int) -> None:
            asyncio.run_coroutine_threadsafe(released.wait(), loop).result()
            sync(descriptor)

        monkeypatch.setattr(folder, "sync", hangs)
        (stuck,) = await store.apply([Change("tickets")])
        (behind,) = await store.apply([Change("tickets")])
        assert isinstance(stuck, OutcomeUnknown)
        assert isinstance(behind, NotApplied)
        assert await store.read("tickets") == Reading(0, 0), "reading does not wait"
        released.set()


async def test_only_what_was_appended_is_read_again(url, monkeypatch):
    read = []
    records = folder.Folder._records

    def counted(self, name, end, start, size):
        read.append(size - start)
        return records(self, name, end, start, size)

    monkeypatch.setattr(folder.Folder, "_records", counted)
    async with open_store(url) as one, open_store(url) as other:
        await one.apply([Change("tickets", key=f"k{i}") for i in range(100)])
        await one.apply([Change("tickets", key="last")])
        assert sum(read) == 0, "what it wrote itself, it knows"
        assert await other.apply([Change("tickets", key="k7")]) == [Applied(8, 8, replayed=True)]
        whole = sum(read)
        await one.apply([Change("tickets", key="new")])
        assert await other.apply([Change("tickets", key="new")]) == [Applied(102, 102, replayed=True)]
        assert 0 < sum(read) - whole < whole / 10


async def test_records_whose_time_is_over_leave_the_disk(url, place, monkeypatch):
    now_ms = 1_000_000_000
    monkeypatch.setattr(folder, "wall_ms", lambda: now_ms)
    async with open_store(url, Limits(key_life_s=60.0)) as store:
        await store.apply([Change("tickets", key="k")])
        assert len(list(place.glob("tickets.keys-*"))) == 1
        now_ms += 120_001
        await store.apply([Change("tickets")])
        assert list(place.glob("tickets.keys-*")) == []
        assert await store.apply([Change("tickets", key="k")]) == [Applied(3, 3)]


async def test_a_counter_forgotten_elsewhere_takes_its_remembered_keys_along(url):
    async with open_store(url) as one, open_store(url) as other:
        await one.apply([Change("tickets", key="k")])
        await other.forget("tickets")
        await other.apply([Change("tickets", 5, key="l")])
        assert await one.apply([Change("tickets", key="k")]) == [Applied(6, 2)]
        assert await one.apply([Change("tickets", 5, key="l")]) == [Applied(5, 1, replayed=True)]


async def test_forgetting_leaves_no_file(url, place):
    async with open_store(url) as store:
        await store.apply([Change("tickets", key="k")])
        await store.forget("tickets")
        assert [path.name for path in place.iterdir()] == [".probe"]
        assert await store.apply([Change("tickets")]) == [Applied(1, 1)]


async def test_forgetting_waits_for_the_lock_and_not_for_ever(url, place):
    async with open_store(url, QUICK) as store:
        await store.apply([Change("tickets")])
        holder = holding(place)
        with pytest.raises(StoreAway):
            await store.forget("tickets")
        waiting = asyncio.create_task(store.forget("tickets"))
        await asyncio.sleep(0.05)
        kill(holder)
        await waiting
        assert await store.read("tickets") == Reading(0, 0)


async def test_a_lock_file_forgotten_between_opening_and_locking_it_locks_nothing(url, place, monkeypatch):
    """That inode has no name any more, and a rival holds the one that stands in its place."""
    lock, flock = place / "tickets.lock", fcntl.flock
    async with open_store(url, QUICK) as store:
        await store.apply([Change("tickets")])
        with (place / "rival").open("w") as rival:
            flock(rival, fcntl.LOCK_EX)

            def forgotten_first(descriptor: int, how: int) -> None:
                if (place / "rival").exists():
                    os.replace(place / "rival", lock)
                flock(descriptor, how)

            monkeypatch.setattr(folder.fcntl, "flock", forgotten_first)
            (held,) = await store.apply([Change("tickets")])
            assert isinstance(held, NotApplied)
        assert await store.apply([Change("tickets")]) == [Applied(2, 2)]


def test_file_names_differ_where_the_file_system_ignores_case():
    names = ["Tickets", "tickets", "TICKETS", "a.lock", "a", "A~b_c-d.e", "Z" * 64]
    assert len({_encoded(name).lower() for name in names}) == len(names)
    assert [_decoded(_encoded(name)) for name in names] == names
    assert len(_encoded("Z" * 64)) + len(".keys-1795392000000") < 255


async def test_a_counter_called_like_another_ones_lock(url):
    async with open_store(url) as store:
        names = ["a", "a.count", "a.lock", "a.tmp", "a.keys-1"]
        assert await store.apply([Change(name) for name in names]) == [Applied(1, 1)] * 5
        assert await store.names() == sorted(names)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda place: place.write_text(""), "Not a directory"),
        (lambda place: os.symlink(place.parent / "nowhere" / "deep", place), "File exists|No such file"),
    ],
    ids=["a file", "a dangling link"],
)
async def test_a_folder_that_cannot_be_used_is_told_in_a_sentence(url, place, make, said):
    make(place)
    with pytest.raises(ConfigurationError, match=said):
        async with open_store(url):
            pass


async def test_a_folder_in_a_folder_that_is_missing(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        async with open_store(f"file:{tmp_path}/a/b/c"):
            pass


@pytest.mark.parametrize("url", ["file:", "file://", "file:///"])
async def test_a_url_without_a_folder(url):
    with pytest.raises(ConfigurationError, match="file: needs a folder"):
        async with open_store(url):
            pass


async def test_a_url_with_slashes(place):
    async with open_store(f"file://{place}") as store:
        await store.apply([Change("tickets")])
    assert (place / "tickets.count").exists()


@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root and setpriv")
def test_a_folder_without_permission(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    code = f"""
import os
os.setgroups([]); os.setgid(65534); os.setuid(65534)
import asyncio
async def main():
    async with open_store('file:{closed}'):
        pass
try:
    asyncio.run(main())
except ConfigurationError as error:
    print(error)
"""
    # imported while it is still root: the interpreter may lie where nobody else can read
    first = "from quart_counter.stores import open_store, file\nfrom quart_counter.errors import ConfigurationError\n"
    told = subprocess.run([sys.executable, "-c", first + code], capture_output=True, text=True, check=True)
    assert "Permission denied" in told.stdout
    assert "--url file:FOLDER" in told.stdout


@pytest.mark.parametrize(
    ("system", "durable"), [("ext4", "power_loss"), ("tmpfs", "crash"), ("", "power_loss")], ids=str
)
def test_the_guarantees_depend_on_the_disk(tmp_path, monkeypatch, system, durable):
    monkeypatch.setattr("quart_counter.stores.file._file_system", lambda path: system)
    stated = _guarantees(tmp_path)
    assert (stated.scope, stated.durable, stated.exactly_once) == ("host", durable, True)
    assert stated.notes


def test_a_network_file_system_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("quart_counter.stores.file._file_system", lambda path: "nfs4")
    with pytest.raises(ConfigurationError, match="lies on nfs4"):
        _guarantees(tmp_path)


async def test_the_layout_is_what_its_docstring_says(url, place):
    async with open_store(url) as store:
        await store.apply([Change("Tickets", 7, key="k")])
    words = json.loads((place / "+tickets.count").read_text())
    assert (words["value"], words["version"]) == (7, 1)
    ((end, size),) = words["keys"].items()
    assert (place / f"+tickets.keys-{end}").read_bytes()[:size] == b"k 7,,,, applied 7 1\n"
    assert (place / "+tickets.lock").read_bytes() == b""
