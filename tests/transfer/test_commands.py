"""`quart-counter export` and `import` as they are typed: what they write, what they refuse, where they go on."""

import asyncio
import json
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner, Result
from e2e.served import clean_environment
from servers import a_server_of_our_own
from stores.contract import fresh

from quart_counter.cli import main
from quart_counter.model import Change
from quart_counter.stores import open_store
from quart_counter.transfer.rows import Row, to_line

COMMAND = [sys.executable, "-W", "error", "-m", "quart_counter"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for variable in ("QUART_COUNTER_URL", "QUART_COUNTER_MODE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def run(*arguments: str, lines: bytes = b"") -> Result:
    return CliRunner().invoke(main, arguments, input=lines)


def lines(rows: Iterable[Row]) -> bytes:
    return b"".join(map(to_line, rows))


ROWS = [Row("hits", -5, 8), Row("tickets", 1000, 3), Row("votes", 0, 2)]
STORE = ("--url", "sqlite:counters.db")


def test_in_by_standard_input_and_out_by_standard_output():
    done = run("import", "-", *STORE, lines=lines(ROWS))
    assert (done.exit_code, done.stdout) == (0, "3 counters imported into sqlite:counters.db: 3 new\n")
    out = run("export", *STORE)
    assert (out.exit_code, out.stdout_bytes) == (0, lines(ROWS))
    assert out.stderr.startswith("exported 3 counters from sqlite:counters.db in ")


def test_out_to_a_file_and_into_another_store():
    Path("in.ndjson").write_bytes(lines(ROWS))
    assert run("import", "in.ndjson", *STORE).exit_code == 0
    assert run("export", "out.ndjson", *STORE).exit_code == 0
    assert run("import", "out.ndjson", "--url", "file:folder").exit_code == 0
    assert run("export", "--url", "file:folder").stdout_bytes == lines(ROWS)
    assert sorted(path.name for path in Path().glob("*.ndjson*")) == ["in.ndjson", "out.ndjson"]


def test_the_environment_names_the_store(monkeypatch):
    monkeypatch.setenv("QUART_COUNTER_URL", "sqlite:counters.db")
    assert run("import", "--start", "tickets=1000").exit_code == 0
    assert run("export").stdout_bytes == lines([Row("tickets", 1000, 1)])


def test_a_counter_starts_where_it_is_told():
    async def count() -> list[int]:
        async with open_store("sqlite:counters.db") as store:
            return [one.value for one in await store.apply([Change("tickets"), Change("down", -1)])]

    assert run("import", "--start", "tickets=1000", "--start", "down=-3", *STORE).exit_code == 0
    assert asyncio.run(count()) == [1001, -4]


def test_what_is_there_is_kept_and_told():
    run("import", "-", *STORE, lines=lines(ROWS))
    again = run("import", "-", *STORE, lines=lines([ROWS[0], ROWS[1]._replace(value=7), Row("new", 1, 1)]))
    assert again.exit_code == 1
    assert again.stdout.endswith(": 1 new, 1 there already, 1 kept\n")
    assert "kept tickets: it is at 1000 (version 3) in the store, and 7 (version 3) in what is imported" in again.stderr
    assert "1 counter kept unchanged: --replace overwrites." in again.stderr
    assert b'"name":"tickets","value":1000,' in run("export", *STORE).stdout_bytes


def test_replace_overwrites_and_the_version_rises():
    run("import", "-", *STORE, lines=lines(ROWS))
    assert run("import", "--start", "tickets=7", "--replace", *STORE).stdout.endswith(": 0 new, 1 replaced\n")
    assert b'{"name":"tickets","value":7,"version":4}\n' in run("export", *STORE).stdout_bytes


def test_only_the_first_of_many_are_named():
    run("import", "-", *STORE, lines=lines(Row(f"c{i:02}", 1, 1) for i in range(12)))
    told = run("import", "-", *STORE, lines=lines(Row(f"c{i:02}", 2, 1) for i in range(12))).stderr
    assert told.count("kept c") == 10
    assert "12 counters kept unchanged (2 more are not listed)" in told


def test_a_wrong_line_is_named_and_the_command_goes_on_when_it_is_mended():
    bad = [*lines(Row(f"c{i:04}", i, 1) for i in range(600)).splitlines(keepends=True), b"\n", b'{"name":"x"}\n']
    stopped = run("import", "-", *STORE, lines=b"".join(bad))
    assert stopped.exit_code == 2
    assert "Error: line 602: it has no value." in stopped.stderr
    assert "512 counters imported into sqlite:counters.db: 512 new. Mend it and run the same command" in stopped.stderr
    mended = run("import", "-", *STORE, lines=b"".join([*bad[:-1], b'{"name":"x","value":5}']))
    assert mended.stdout == "601 counters imported into sqlite:counters.db: 89 new, 512 there already\n"


def test_an_export_is_for_its_user_alone(here, open_handed):
    assert run("import", "-", *STORE, lines=lines(ROWS)).exit_code == 0
    assert run("export", "out.ndjson", *STORE).exit_code == 0
    assert {path.stat().st_mode & 0o777 for path in here.iterdir()} == {0o600}


def test_an_export_that_was_cut_off_goes_on_with_resume():
    run("import", "-", *STORE, lines=lines(ROWS))
    Path("out.ndjson.part").write_bytes(lines(ROWS[:1]) + b'{"name":"tick')
    refused = run("export", "out.ndjson", *STORE)
    assert refused.exit_code == 2
    assert "out.ndjson.part is there, from an export that did not end: --resume goes on with it" in refused.stderr
    resumed = run("export", "out.ndjson", "--resume", *STORE)
    assert "exported 2 counters behind hits from" in resumed.stderr
    assert Path("out.ndjson").read_bytes() == lines(ROWS)
    assert not Path("out.ndjson.part").exists()


@pytest.mark.parametrize("torn", [b"", b'{"name":"hi'])
def test_an_export_that_was_cut_off_in_its_first_line_goes_on(torn):
    run("import", "-", *STORE, lines=lines(ROWS))
    Path("out.ndjson.part").write_bytes(torn)
    assert run("export", "out.ndjson", "--resume", *STORE).exit_code == 0
    assert Path("out.ndjson").read_bytes() == lines(ROWS)


@pytest.mark.parametrize("precious", [b"a line\nand another without its end", b"a line", b"x" * 200_000, b"a line\n"])
def test_what_is_no_export_is_left_as_it_is(precious):
    run("import", "-", *STORE, lines=lines(ROWS))
    Path("out.part").write_bytes(precious)
    told = run("export", "out", "--resume", *STORE)
    assert (told.exit_code, Path("out.part").read_bytes()) == (2, precious)
    assert "out.part is no export" in told.stderr


def test_a_link_is_no_export_of_ours():
    run("import", "-", *STORE, lines=lines(ROWS))
    Path("precious").write_bytes(lines(ROWS[:1]))
    Path("out.part").symlink_to("precious")
    assert run("export", "out", "--resume", *STORE).exit_code == 2
    assert run("export", "out", *STORE).exit_code == 2
    assert Path("precious").read_bytes() == lines(ROWS[:1])


REFUSED = [
    (["export"], "name the store with --url"),
    (["export", "--url", "memory:"], "name the store with --url"),
    (["export", "--url", "manager:"], "name the store with --url"),
    (["export", "--url", "nope:"], "no mode uses nope: URLs"),
    (["export", "--url", "sqlite:nope.db"], "nope.db is not there, so there is nothing to export"),
    (["export", "--url", "file:nope"], "nope is not there"),
    (["export", "--url", "redis://127.0.0.1:1/0", "x"], "Redis does not answer"),
    (["export", "--resume", *STORE], "--resume needs a FILE"),
    (["export", "x", "--resume", *STORE], "there is no x.part to go on with: leave out --resume"),
    (["export", "nope/x", *STORE], "nope is no folder"),
    (["import", *STORE], "give one of FILE, --start, --from-redis and --from-sql to import from, not none"),
    (["import", "x", "--start", "a=1", *STORE], "not FILE and --start"),
    (["import", "nope.ndjson", *STORE], "nope.ndjson cannot be read"),
    (["import", "--start", "a", *STORE], "write a name and a whole number, for example tickets=1000"),
    (["import", "--start", "a b=1", *STORE], "is no counter name"),
    (["import", "--from-redis", "redis://127.0.0.1:1/0", *STORE], "--from-redis and --match go together"),
    (["import", "--from-redis", "redis://h:x/0", "--match", "*", *STORE], "the URL of --from-redis is wrong"),
    (["import", "--from-sql", "SELECT 1", *STORE], "--from-sql and --from-url go together"),
    (["import", "--from-sql", "SELECT 1", "--from-url", "mysql://h/d", *STORE], "reads sqlite: and postgresql: URLs"),
    (["import", "--from-sql", "SELECT 'a'", "--from-url", "sqlite:counters.db", *STORE], "finds 1 columns"),
    (["import", "--from-sql", "SELECT x", "--from-url", "sqlite:counters.db", *STORE], "no such column: x"),
    (["import", "--from-sql", "DELETE FROM counters", "--from-url", "sqlite:counters.db", *STORE], "not authorized"),
    (["import", "--from-sql", "VACUUM INTO 'x.db'", "--from-url", "sqlite:counters.db", *STORE], "authoriz"),
    (["import", "--from-sql", "ATTACH 'x.db' AS x", "--from-url", "sqlite:counters.db", *STORE], "not authorized"),
    (["import", "--from-sql", "", "--from-url", "sqlite:counters.db", *STORE], "one of FILE"),
    (["import", "--from-sql", "--", "--from-url", "sqlite:counters.db", *STORE], "give a SELECT"),
    (["import", "--from-sql", "SELECT NULL, 5", "--from-url", "sqlite:counters.db", *STORE], "row 1: the name is null"),
    (["import", "--from-sql", "SELECT 1", "--from-url", "postgresql://u:hunter2/x@h:1/d", *STORE], "is malformed"),
    (["import", "--start", "us=1_000", *STORE], "write a name and a whole number"),
    (["import", "--start", "uni=\u0661\u0662", *STORE], "write a name and a whole number"),
    (["import", "--from-sql", "SELECT 1, 2", "--from-url", "sqlite:nope.db", *STORE], "unable to open"),
    (["import", "--from-sql", "SELECT 'a:b', 2", "--from-url", "sqlite:counters.db", *STORE], "row 1: 'a:b' is no"),
    (["import", "--from-sql", "SELECT 'a', .5", "--from-url", "sqlite:counters.db", *STORE], "row 1, 'a': value must"),
    (["import", "x", "--cut", "a", *STORE], "--cut and --map are for the names"),
    (["import", "--start", "a=1", "--map", "a=b", *STORE], "--cut and --map are for the names"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED, ids=[" ".join(arguments) for arguments, _ in REFUSED])
def test_what_is_refused_is_status_2_a_sentence_and_no_effect(arguments, sentence):
    run("import", "--start", "tickets=5", *STORE)
    before = run("export", *STORE).stdout_bytes
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert run("export", *STORE).stdout_bytes == before
    assert not list(Path().glob("*.part"))
    assert "hunter2" not in result.stderr
    assert not Path("x.db").exists()


def test_from_plain_redis_keys(redis_server):
    mark = fresh()
    with redis.Redis.from_url(redis_server.url) as client:
        client.mset({f"{mark}:{number}": number for number in range(700)})
        client.hset(f"{mark}:a-hash", "x", "1")
        client.set(f"{mark}-not-a-number", "seven")
        client.set(f"{mark}~underscored", "1_000")
    where = ("--from-redis", redis_server.url, "--match")
    unmapped = run("import", *where, f"{mark}:*", *STORE)
    mapped = run("import", *where, f"{mark}:*", "--cut", f"{mark}:", "--map", ":=.", *STORE)
    wrong = run("import", *where, f"{mark}-*", *STORE)
    underscored = run("import", *where, f"{mark}~*", *STORE)
    assert unmapped.exit_code == 2
    assert "is no counter name" in unmapped.stderr
    assert "--map :=." in unmapped.stderr
    assert mapped.stdout == "700 counters imported into sqlite:counters.db: 700 new\n"
    assert wrong.exit_code == 2
    assert f"the key '{mark}-not-a-number' holds b'seven', no whole number" in wrong.stderr
    assert "holds b'1_000', no whole number" in underscored.stderr, "INCR takes it for none either"
    out = map(json.loads, run("export", *STORE).stdout.splitlines())
    assert {one["name"]: one["value"] for one in out} == {str(number): number for number in range(700)}


def test_from_a_query_in_sqlite():
    with closing(sqlite3.connect("shop.db")) as db:
        db.execute("CREATE TABLE hits (page TEXT, n INTEGER)")
        db.executemany("INSERT INTO hits VALUES (?, ?)", [(f"/page/{i}", i) for i in range(600)])
        db.commit()
    query = ("--from-sql", "SELECT page, n, n + 1 FROM hits", "--from-url", "sqlite:shop.db", "--cut", "/page/")
    assert run("import", *query, *STORE).stdout == "600 counters imported into sqlite:counters.db: 600 new\n"
    assert b'{"name":"42","value":42,"version":43}\n' in run("export", *STORE).stdout_bytes


def test_from_a_query_in_postgres(postgres_server):
    where = ("--from-url", postgres_server.url, *STORE)
    counted = "SELECT 'p' || i % 7, sum(i) FROM generate_series(1, 2000) AS i GROUP BY 1"
    assert run("import", "--from-sql", counted, *where).stdout.endswith(": 7 new\n")
    assert b'{"name":"p3","value":286143,"version":1}\n' in run("export", *STORE).stdout_bytes
    written = run("import", "--from-sql", "CREATE TABLE nope (x int)", *where)
    assert (written.exit_code, "cannot execute CREATE TABLE in a read-only transaction" in written.stderr) == (2, True)


# What the store has is there before we can hear of it, so the flush under way may be told, or not.
TOLD = r"{begins}(512|0) counters imported into {place}: \1 new, and perhaps some of the next 512\. "


def test_ctrl_c_is_heard_while_standard_input_is_silent_and_the_rest_goes_in_later():
    rows = [Row(f"c{i:04}", i, 1) for i in range(1000)]
    with subprocess.Popen(
        [*COMMAND, "import", "-", *STORE], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    ) as process:
        process.stdin.write(lines(rows[:700]))
        process.stdin.flush()
        wait_for_counters(512)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 3
        said = process.stderr.read().decode()
        assert re.match(TOLD.format(begins="interrupted: ", place="sqlite:counters.db"), said)
        process.stdin.close()
    assert run("import", "-", *STORE, lines=lines(rows)).stdout.endswith(": 488 new, 512 there already\n")
    assert run("export", *STORE).stdout_bytes == lines(rows)


def wait_for_counters(number: int) -> None:
    """Until so many are in counters.db; the test's own timeout ends this if they never are."""
    while True:
        try:
            with closing(sqlite3.connect("file:counters.db?mode=ro", uri=True)) as db:
                if db.execute("SELECT count(*) FROM counters").fetchone() == (number,):
                    return
        except sqlite3.OperationalError:
            pass  # it is not there yet
        time.sleep(0.01)


def test_a_store_that_dies_meanwhile_is_told_and_the_rest_goes_in_when_it_is_back():
    rows = [Row(f"c{i:04}", i, 7) for i in range(1500)]
    with a_server_of_our_own("redis", appendonly="always") as server, redis.Redis.from_url(server.url) as client:
        environ = {**clean_environment(), "QUART_COUNTER_DEADLINE_S": "0.5", "QUART_COUNTER_URL": server.url}
        with subprocess.Popen(
            [*COMMAND, "import", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
        ) as process:
            process.stdin.write(lines(rows[:700]))
            process.stdin.flush()
            while client.zcard("qc:names") < 512:
                time.sleep(0.01)  # the test's own timeout ends this if they never come
            server.kill()
            process.stdin.write(lines(rows[700:]))
            process.stdin.close()
            said = process.stderr.read().decode()
            assert process.wait(20) == 2
        assert re.match(TOLD.format(begins=r"Error: Redis does not answer .*\n", place="redis://.*"), said)
        assert "When it is back, run the same command again" in said
        server.start()
        assert run("import", "-", "--url", server.url, lines=lines(rows)).stdout.endswith(
            ": 988 new, 512 there already\n"
        )
        assert run("export", "--url", server.url).stdout_bytes == lines(rows)


def test_ctrl_c_ends_an_export_that_nobody_reads():
    run("import", "-", *STORE, lines=lines(Row(f"c{i:06}", i, 1) for i in range(5000)))
    with subprocess.Popen(
        [*COMMAND, "export", *STORE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    ) as process:
        assert process.stdout.read(1) == b"{"  # it began, and its pipe fills up
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, said.startswith(b"interrupted after ")) == (3, True)


def test_a_benchmark_says_what_moving_costs():
    """The million is for `python benchmarks/transfer.py`; here the same command moves a few thousand."""
    bench = Path(__file__).parents[2] / "benchmarks" / "transfer.py"
    done = subprocess.run([sys.executable, bench, "3000", "sqlite"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1].split()[:2] == ["sqlite", "3,000"]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_million_counters_move_in_bounded_memory():
    bench = Path(__file__).parents[2] / "benchmarks" / "transfer.py"
    done = subprocess.run([sys.executable, bench], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[1] for row in rows] == ["100,000", "1,000,000"] * 2
    for fewer, more in zip(rows[::2], rows[1::2], strict=True):
        for column in (3, 5, 7):
            assert int(more[column]) < int(fewer[column]) + 10, "ten times the counters, no more memory"
