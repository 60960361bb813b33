"""A race's label is what the answers say: nothing is called safe without proof, and nothing is explained away."""

import itertools
import json

import pytest
from click.testing import CliRunner
from servers import lacking

from quart_counter import cli
from quart_counter.errors import ConfigurationError
from quart_counter.lab import backends, race
from quart_counter.lab.backends import backend
from quart_counter.lab.checker import ANOMALIES, check
from quart_counter.lab.history import Operation
from quart_counter.lab.history import load as load_history
from quart_counter.lab.race import DEFAULT, Entry, Row, load
from quart_counter.lab.race.scope import narrower_scope
from quart_counter.local import redis
from quart_counter.local.process import ServerMissing
from quart_counter.settings.modes import MODES

PROCESS = {"scope": "process", "atomic": True}


def history(*answers: tuple[int, int], last: int) -> list[Operation]:
    """Adds as (client, answer), all at once, then a read by somebody else."""
    adds = [Operation(who, "add", "n", 1, None, None, 10, 20, "ok", False, value, value) for who, value in answers]
    return [*adds, Operation(99, "read", "n", 0, None, None, 30, 40, "ok", False, last, last)]


def row(operations: list[Operation], *, workers: int = 1, one_client: bool = False, in_flight: int = 2) -> Row:
    entry = Entry("cookie" if one_client else "bare", workers, one_client)
    adds = sum(operation.op == "add" for operation in operations)
    pids = dict.fromkeys(range(workers), adds)
    return Row(entry, PROCESS, 2, adds, operations, check(operations), in_flight, pids, 1.0, {})


def test_each_client_with_a_number_of_its_own_is_scoped():
    in_turn = [
        Operation(who, "add", "n", 1, None, None, 10 * turn, 10 * turn + 5, "ok", False, turn, turn)
        for turn, who in itertools.product((1, 2), (0, 1))
    ]
    nobody = history(last=0)
    assert narrower_scope([*in_turn, *nobody]) == "client"
    assert row([*in_turn, *nobody]).verdict == "SCOPED"


def test_ones_for_all_are_scoped_to_the_request():
    assert narrower_scope(history((0, 1), (0, 1), (1, 1), last=0)) == "request"


def test_ones_for_all_are_racy_if_somebody_else_sees_the_number():
    lost = history((0, 1), (1, 1), last=1)
    assert narrower_scope(lost) is None
    assert row(lost).verdict == "RACY"


def test_two_workers_that_count_alone_are_not_explained_by_their_clients():
    assert row(history((0, 1), (1, 1), (2, 2), (3, 2), last=2), workers=2).verdict == "RACY"


def test_one_client_has_one_number_and_no_excuse():
    assert row(history((0, 1), (1, 1), last=0), one_client=True).verdict == "RACY"


def test_right_answers_without_overlap_prove_nothing():
    right = history((0, 1), (1, 2), last=2)
    assert row(right).verdict == "SAFE"
    assert row(right, in_flight=0).verdict == "INCONCLUSIVE"


def test_wrong_answers_have_no_speed():
    document = row(history((0, 1), (1, 1), last=1)).document()
    assert (document["client_bound_per_s"], document["p50_ms"], document["p99_ms"]) == (None, None, None)
    assert document["witness"]


def test_the_document_of_a_default_row_is_the_contract():
    assert list(row(history((0, 1), (1, 2), last=2)).document()) == [
        *("mode", "workers", "clients", "requests", "ok", "fail", "unknown", "distinct", *ANOMALIES, "final"),
        *("max_in_flight", "pids", "verdict", "expected", "client_bound_per_s", "p50_ms", "p99_ms", "witness"),
    ]


def test_the_default_rows_are_the_nine_of_the_contract():
    assert [(entry.mode, entry.workers) for entry in DEFAULT] == [
        *(("bare", 1), ("bare", 2), ("unguarded", 1), ("lock", 1), ("lock", 2), ("lock-late-answer", 1)),
        *(("redis-get-set", 2), ("redis", 1), ("redis", 2)),
    ]


def test_a_mode_with_a_number_for_each_client_races_twice():
    many, one = race.entries("session", 2)
    assert (many.target.who, one.target.who) == ("each", "one")
    assert (many.title, one.title) == ("session", "session, one client")
    assert many.expected(PROCESS) == "SCOPED"
    assert one.expected(PROCESS) == "RACY"
    assert one._replace(workers=1).expected(PROCESS) == "SAFE"


def test_histories_of_both_have_names_of_their_own(tmp_path):
    for entry in race.entries("cookie", 1):
        (row(history((0, 1), last=1), one_client=entry.one_client)).keep(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"bare-1.ndjson", "cookie-1-one-client.ndjson"}
    assert len(load_history(tmp_path / "bare-1.ndjson")) == 2


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_has_a_private_backend(mode):
    try:
        with backend(mode) as private:
            assert private.url.partition(":")[0] in MODES[mode].schemes
            assert (private.server is None) == (MODES[mode].schemes[0] in ("memory", "cookie", "sqlite", "file"))
    except ServerMissing as missing:
        lacking(str(missing))


def test_a_manager_comes_back_at_another_address():
    with backend("manager") as private:
        before = private.url
        assert private.server is not None
        private.server.kill()
        private.server.start()
        assert private.url != before


def test_a_missing_server_is_one_sentence_with_its_remedy(monkeypatch):
    def nowhere() -> list[str]:
        raise ServerMissing(redis.REMEDY)

    monkeypatch.setattr(redis, "find", nowhere)
    answer = CliRunner().invoke(cli.main, ["race", "redis"])
    assert answer.exit_code == 2
    assert redis.REMEDY in answer.output


def test_a_session_is_raced_from_the_command_line():
    answer = CliRunner().invoke(cli.main, ["race", "session", "--clients", "10", "--json"])
    rows = json.loads(answer.output)["rows"]
    assert [(one["mode"], one["one_client"], one["verdict"]) for one in rows] == [
        ("session", False, "SCOPED"),
        ("session", True, "SAFE"),
    ]
    assert answer.exit_code == 0


async def test_a_read_without_an_answer_is_told():
    async with load.Caller("http://127.0.0.1:1", load.counter("tickets")) as caller:
        with pytest.raises(load.NoAnswer, match="GET /counters/tickets was not answered"):
            await caller.read()
        assert (await caller.add()).outcome == "fail"
    assert issubclass(load.NoAnswer, ConfigurationError)


def test_only_modes_that_need_it_get_a_bad_line():
    assert set(backends.BAD_LINES) <= {name for name, mode in MODES.items() if mode.exhibit}
