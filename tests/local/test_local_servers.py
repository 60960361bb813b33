"""Every private server starts, answers, comes back after a crash, and leaves nothing behind, whatever ends its run."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from servers import KINDS, NamedServer, a_server_of_our_own, require, require_program, shared_server

from quart_counter.local import mariadb, postgres, redis
from quart_counter.local.process import PORTS, LocalServer, Probe, ServerFailed, ServerMissing, free_port

PATIENCE_S = 10.0
each_kind = pytest.mark.parametrize("kind", KINDS)


def say(url: str, question: bytes) -> bytes:
    """What the server answers to these bytes."""
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=PATIENCE_S) as connection:
        connection.sendall(question)
        return connection.recv(512)


async def redis_answers(url: str) -> bool:
    return say(url, b"PING\r\n") == b"+PONG\r\n"


async def memcached_answers(url: str) -> bool:
    return say(url, b"version\r\n").startswith(b"VERSION 1.")


async def mariadb_answers(url: str) -> bool:
    return say(url, b"")[4:5] == b"\n"  # the greeting of protocol 10


async def postgres_answers(url: str) -> bool:
    return await query(url, "SELECT 1") == 1


ANSWERS: dict[str, Callable[[str], Awaitable[bool]]] = {
    "redis": redis_answers,
    "memcached": memcached_answers,
    "mariadb": mariadb_answers,
    "postgres": postgres_answers,
}


async def query(url: str, sentence: str) -> object:
    asyncpg = pytest.importorskip("asyncpg")
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sentence)
    finally:
        await connection.close()


def processes_in(folder: Path) -> list[int]:
    """The processes that work inside this folder, removed or not (Linux; elsewhere none are seen)."""
    return [int(cwd.parent.name) for cwd in Path("/proc").glob("[0-9]*/cwd") if _target(cwd).startswith(str(folder))]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # it ended meanwhile, or is not ours to look at
        return ""


def listens(url: str) -> bool:
    at = urlsplit(url)
    with socket.socket() as knock:
        return knock.connect_ex((at.hostname, at.port)) == 0


def nothing_left(folder: Path, url: str) -> bool:
    return not folder.exists() and not processes_in(folder) and not listens(url)


def wait_for(condition: Callable[[], bool]) -> bool:
    """True as soon as the condition holds; for the deeds of processes that are not our children."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="module", params=KINDS)
def one_of_each(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    with a_server_of_our_own(request.param) as server:
        yield server


@pytest.fixture
def any_server(one_of_each: LocalServer) -> LocalServer:
    """It runs, whatever the test before did to it."""
    one_of_each.start()
    return one_of_each


async def test_it_answers_and_says_what_it_is(any_server: LocalServer) -> None:
    """Ready means ready: the first question is answered."""
    assert await ANSWERS[any_server.name](any_server.url)
    assert any(character.isdigit() for character in any_server.version)
    assert urlsplit(any_server.url).hostname == "127.0.0.1"


async def test_after_a_kill_it_comes_back_at_the_same_address(any_server: LocalServer) -> None:
    """kill, start: another process, the same url; and again after a clean stop."""
    url, pid = any_server.url, any_server.pid
    any_server.kill()
    assert not listens(url)
    any_server.start()
    assert await ANSWERS[any_server.name](url)
    assert (any_server.url, any_server.pid != pid) == (url, True)
    any_server.stop()
    assert not listens(url)
    assert wait_for(lambda: not processes_in(any_server.folder))
    any_server.start()
    assert await ANSWERS[any_server.name](url)


def test_verbs_said_twice_do_no_harm(any_server: LocalServer) -> None:
    """start while it runs keeps the process; stop and kill of a stopped server do nothing."""
    pid = any_server.pid
    any_server.start()
    assert any_server.pid == pid
    any_server.stop()
    any_server.stop()
    any_server.kill()
    with pytest.raises(ServerFailed, match=r"call start\(\)"):
        _ = any_server.pid


def test_a_crash_nobody_ordered_is_mended_by_start(any_server: LocalServer) -> None:
    """The process dies behind our back; start() brings it back."""
    pid = any_server.pid
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    any_server.start()
    assert any_server.pid != pid


def test_the_terminals_ctrl_c_does_not_reach_it(any_server: LocalServer) -> None:
    """Ctrl-C goes to the foreground process group: ours, not its."""
    assert os.getpgid(any_server.pid) == any_server.pid != os.getpgid(0)


def test_it_outlives_the_thread_that_started_it(any_server: LocalServer) -> None:
    """Linux's parent-death signal would kill it here: it watches the starting thread, not the process."""
    any_server.kill()
    starter = threading.Thread(target=any_server.start)
    starter.start()
    starter.join()
    assert listens(any_server.url)


@each_kind
def test_nothing_is_left_when_the_block_ends(kind: str) -> None:
    """No folder, no process, no port."""
    with a_server_of_our_own(kind) as server:
        assert server.folder.stat().st_mode & 0o077 == 0
        assert processes_in(server.folder) or sys.platform != "linux"
    assert nothing_left(server.folder, server.url)


@each_kind
def test_nothing_is_left_when_the_block_raises(kind: str) -> None:
    """The error passes through, the server does not."""

    def a_block_that_raises() -> None:
        with server:
            raise LookupError("from the block")

    server = a_server_of_our_own(kind)
    with pytest.raises(LookupError, match="from the block"):
        a_block_that_raises()
    assert nothing_left(server.folder, server.url)


@each_kind
def test_nothing_is_left_when_the_parent_is_killed(kind: str) -> None:
    """kill -9 of the process that started it: no handler of ours runs, and still it all goes."""
    require(kind)
    code = (
        f"from quart_counter.local.{kind} import private_{kind}\n"
        f"with private_{kind}() as server:\n"
        "    print(server.folder, server.url, flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root()) as parent:
        assert parent.stdout is not None
        folder, url = parent.stdout.readline().split()
        assert listens(url)
        parent.kill()
        parent.wait()
        assert wait_for(lambda: nothing_left(Path(folder), url))


def root() -> Path:
    """Where `quart_counter` can be imported from, installed or not."""
    return Path(redis.__file__).parents[2]


@each_kind
def test_one_that_cannot_start_quotes_its_log(kind: str) -> None:
    """The sentence names the server and its own complaint; nothing is left of the attempt."""
    server = broken(kind)
    with pytest.raises(ServerFailed, match=rf"(?s){kind} did not start.*no.such.option"), server:
        pass
    assert not server.folder.exists()


def broken(kind: str) -> LocalServer:
    return a_server_of_our_own(kind, extra_args=["--no-such-option=1"])


def test_a_setup_that_fails_quotes_its_log() -> None:
    """What initdb says is what the caller reads."""
    server = private_shell("exit 0", setup="echo the disk is full; exit 3")
    with pytest.raises(ServerFailed, match=r"(?s)could not be set up.*status 3.*the disk is full"), server:
        pass
    assert not server.folder.exists()


def test_a_program_that_cannot_be_run_is_named() -> None:
    """As when the binaries lie where the other user may not read."""
    server = LocalServer("broken", ["/nonexistent/server"], url="", probe=Probe(1, b"", b""))
    with pytest.raises(ServerFailed, match=r"broken cannot be started by .*/nonexistent/server: No such file"), server:
        pass
    assert not server.folder.exists()


def test_a_stranger_on_the_port_is_not_mistaken_for_ours() -> None:
    """Its port was taken in the meantime: the probe would pass before ours has noticed that it cannot listen."""
    with a_server_of_our_own("redis") as stranger:
        port = urlsplit(stranger.url).port
        assert port is not None
        probe = Probe(port, b"PING\r\n", rb"\+PONG")
        late = LocalServer("late", [*redis.find(), "--port", str(port), "--save", ""], url=stranger.url, probe=probe)
        with pytest.raises(ServerFailed, match=f"another server answers on its port {port}"), late:
            pass


def test_one_that_ignores_the_polite_word_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean stop has a bound."""
    monkeypatch.setattr("quart_counter.local.process.STOP_TIMEOUT_S", 0.1)
    server = private_shell("trap '' TERM; touch ready; while :; do sleep 0.1; done")
    monkeypatch.setattr(Probe, "passes", lambda _: (server.folder / "ready").exists())
    with server:
        pid = server.pid
        server.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def private_shell(script: str, setup: str = "exit 0") -> LocalServer:
    probe = Probe(free_port(), b"", b"")
    return LocalServer("shell", ["/bin/sh", "-c", script], url="", probe=probe, setup=[["/bin/sh", "-c", setup]])


def test_ports_lie_below_every_kernels_own_range() -> None:
    """Inside that range a client that knocks on a dead server's port ends up connected to itself."""
    assert free_port() in PORTS
    assert PORTS.stop <= 32_768


@each_kind
async def test_the_runs_shared_server_answers(kind: str, request: pytest.FixtureRequest) -> None:
    """The fixtures of conftest.py: redis_server, postgres_server, mariadb_server, memcached_server."""
    server = request.getfixturevalue(f"{kind}_server")
    assert await ANSWERS[kind](server.url)


# what is kept


@pytest.mark.parametrize(("appendonly", "kept"), [("no", b"$-1"), ("always", b"$1\r\n7"), ("everysec", b"$1\r\n7")])
def test_redis_keeps_what_append_only_promises(appendonly: str, kept: bytes) -> None:
    """kill -9: without the log all is forgotten; with it nothing is (the kernel has it, if not yet the disk)."""
    with a_server_of_our_own("redis", appendonly=appendonly) as server:
        assert say(server.url, b"SET tickets 7\r\n") == b"+OK\r\n"
        server.kill()
        server.start()
        assert say(server.url, b"GET tickets\r\n").startswith(kept)


def test_redis_never_evicts() -> None:
    with a_server_of_our_own("redis", extra_args=["--maxmemory", "100mb"]) as server:
        assert b"noeviction" in say(server.url, b"CONFIG GET maxmemory-policy\r\n")


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGQUIT])
async def test_postgres_keeps_commits_through_a_crash_with_clients(by: signal.Signals) -> None:
    """A client is connected and busy when it crashes; what was answered is there after the recovery."""
    asyncpg = pytest.importorskip("asyncpg")
    with a_server_of_our_own("postgres") as server:
        assert await query(server.url, "SHOW fsync") == "on"
        await query(server.url, "CREATE TABLE tickets AS SELECT 7 AS number")
        busy = await asyncpg.connect(server.url)
        sleep = asyncio.ensure_future(busy.fetchval("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.kill, by)
        with pytest.raises((asyncpg.PostgresError, ConnectionError)):
            await sleep
        await asyncio.to_thread(server.start)
        assert await query(server.url, "SELECT number FROM tickets") == 7


@pytest.mark.skipif(not Path("/proc/sysvipc/shm").exists(), reason="reads Linux's list of memory segments")
def test_a_killed_postgres_leaves_no_memory_segment() -> None:
    """Machines have 4096 of them; leaked by the dozen, they would one day keep every PostgreSQL from starting."""
    with a_server_of_our_own("postgres") as server:
        segment = (server.folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
        assert segment in segments()
        server.kill()
    assert segment not in segments()


def segments() -> set[str]:
    """The ids of System V memory segments."""
    return {line.split()[1] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


async def test_postgres_without_fsync_says_so() -> None:
    with a_server_of_our_own("postgres", fsync=False) as server:
        assert await query(server.url, "SHOW fsync") == "off"


def test_mariadb_has_a_database_and_two_users() -> None:
    """root without a password, counter only with its own; both by TCP; the table survives kill -9."""
    require_program("mariadb", "mariadb-client")

    def sql(user: str, sentence: str, *more: str) -> subprocess.CompletedProcess[str]:
        at = [f"--host={urlsplit(server.url).hostname}", f"--port={urlsplit(server.url).port}", f"--user={user}"]
        command = ["mariadb", "--no-defaults", *at, *more, "-N", "-e", sentence, mariadb.DATABASE]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with a_server_of_our_own("mariadb") as server:
        assert sql("root", "SELECT @@innodb_flush_log_at_trx_commit").stdout == "1\n"
        assert sql("counter", "CREATE TABLE tickets AS SELECT 7 AS n", "--password=counter").returncode == 0
        assert "Access denied" in sql("counter", "SELECT 1", "--password=wrong").stderr
        server.kill()
        server.start()
        assert sql("root", "SELECT n FROM tickets").stdout == "7\n"


# where they are found


def nowhere(program: str, mode: int = os.F_OK, path: str | None = None) -> None:
    """A machine without the program."""


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing on PATH, nothing in Debian's folder; wheels are still there."""
    monkeypatch.setattr(shutil, "which", nowhere)
    monkeypatch.setattr(postgres, "DEBIAN", Path("/nonexistent"))
    return monkeypatch


@pytest.mark.parametrize("kind", ["redis", "postgres"])
async def test_the_wheel_serves_where_nothing_is_installed(kind: str, bare_machine: pytest.MonkeyPatch) -> None:
    """No apt-get, no root: pip is enough."""
    require(kind)
    with a_server_of_our_own(kind) as server:
        assert "site-packages" in KINDS[kind].find()[0]
        assert await ANSWERS[kind](server.url)


@each_kind
def test_a_missing_server_is_named_with_the_command_that_mends_it(kind: str, bare_machine: pytest.MonkeyPatch) -> None:
    bare_machine.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerMissing, match=r"`apt-get install .*` mends it"):
        KINDS[kind].find()


@pytest.mark.parametrize(("required", "ending"), [("0", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_a_missing_server_skips_the_test_or_fails_it(
    required: str, ending: type[BaseException], bare_machine: pytest.MonkeyPatch
) -> None:
    """Skipped on a laptop, failed where the run says that all servers must be there."""
    bare_machine.setenv("QUART_COUNTER_REQUIRE_SERVERS", required)
    with pytest.raises(ending, match="apt-get install memcached"):
        require("memcached")
    with pytest.raises(ending, match="no node on this machine: `apt-get install nodejs` mends it"):
        require_program("node", "nodejs")


def test_a_named_server_is_used_instead_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUART_COUNTER_TEST_MYSQL_URL", "mysql://elsewhere/db")
    assert list(shared_server("mariadb")) == [NamedServer("mysql://elsewhere/db")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a server to another user")
def test_a_closed_temporary_folder_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TMPDIR=/root/tmp: nobody cannot pass there, so the folder lies elsewhere."""
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with a_server_of_our_own("memcached") as server:
        assert tmp_path not in server.folder.parents
