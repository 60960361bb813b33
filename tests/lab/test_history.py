"""Histories on disk: what is read is what was written, and a line that is not an operation is named and refused."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_counter.lab.history import HistoryError, Operation, load, max_in_flight, parse, to_document, write

LINE = {
    "process": 3,
    "op": "add",
    "name": "tickets",
    "by": 1,
    "limit": None,
    "key": None,
    "call": 10,
    "return": 20,
    "outcome": "ok",
    "refused": False,
    "value": 7,
    "version": 7,
}
ADD = Operation(3, "add", "tickets", 1, None, None, 10, 20, "ok", False, 7, 7)


def line(**changes):
    return json.dumps(LINE | changes)


def without(*names):
    return json.dumps({name: value for name, value in LINE.items() if name not in names})


def test_a_line_is_an_operation():
    """The contract's fields, one by one."""
    assert parse(line()) == ADD


def test_a_document_has_the_fields_of_the_contract_in_their_order():
    """`ret` is `return` there, and nothing is left out."""
    assert list(to_document(ADD).items()) == list(LINE.items())


def test_what_may_be_absent():
    """Exactly limit, key, refused and version; their absence is null or false."""
    assert parse(without("limit", "key", "refused", "version")) == ADD._replace(version=None)


@pytest.mark.parametrize("name", ["process", "op", "name", "by", "call", "return", "outcome", "value"])
def test_what_may_not(name):
    """The missing field is named."""
    with pytest.raises(HistoryError, match=f"missing field {name}$"):
        parse(without(name))


LEGAL = [
    {"op": "take", "by": -2, "limit": 0},
    {"op": "take", "by": 2, "limit": None},
    {"op": "set", "by": None},
    {"op": "set", "by": 0, "outcome": "fail", "refused": True, "value": None},
    {"op": "read", "by": 1},
    {"op": "read", "by": 0, "version": 0, "value": 0},
    {"outcome": "info", "return": None, "value": None},
    {"outcome": "info", "return": 30, "value": None},
    {"outcome": "fail", "value": None},
    {"return": 10},
    {"call": -5},
    {"value": 2**60},
    {"key": ""},
]


@pytest.mark.parametrize("changes", LEGAL, ids=str)
def test_legal_lines(changes):
    """What looks unusual and is allowed; reads and sets have no `by` of their own."""
    operation = parse(line(**changes))
    assert operation.by == (0 if operation.op in ("set", "read") else {**LINE, **changes}["by"])


ILLEGAL = {
    "an integer or null, not true": line(by=True),
    "an integer, not true": line(process=True),
    "an integer, not 1.0": line(call=1.0),
    "an integer, not NaN": line(call=float("nan")),
    'an integer or null, not "7"': line(value="7"),
    "an integer or null, not false": line(version=False),
    "a string, not 5": line(name=5),
    'a string or null, not \\["a"\\]': line(key=["a"]),
    "true or false, not null": line(refused=None),
    "true or false, not 0": line(refused=0),
    "unknown field 'retrun'": line(retrun=5),
    "'op' must be one of add, take, set, read, not \"inc\"": line(op="inc"),
    "'outcome' must be one of ok, fail, info, not \"OK\"": line(outcome="OK"),
    "'name' is empty": line(name=""),
    "needs a 'return'": line(**{"return": None}),
    "fail' was answered, so it needs a 'return'": line(**{"return": None, "outcome": "fail"}),
    "returned before it was called \\(9 < 10\\)": line(**{"return": 9}),
    "op 'add' with outcome 'ok' needs a 'value'": line(value=None),
    "op 'set' with outcome 'info' needs a 'value'": line(op="set", outcome="info", value=None),
    "'by' other than 0": line(by=0),
    "op 'take' needs a 'by'": line(op="take", by=None),
    "'limit' belongs to a take": line(limit=5),
    "not to op 'add' with outcome 'ok'": line(refused=True),
    "not to op 'read' with outcome 'fail'": line(op="read", outcome="fail", refused=True),
    "'version' must not be below 0": line(version=-1),
    "'by' stands there twice": line()[:-1] + ', "by": 2}',
    "not JSON": line()[:-1],
    "not JSON \\(Extra data": line() + line(),
    "expected a JSON object": "[1, 2]",
    "expected a JSON object, one": "null",
    "beyond all measure": "[" * 100_000,
    "nesting beyond": '{"process": ' + "1" * 5_000 + "}",
}


@pytest.mark.parametrize("complaint", ILLEGAL)
def test_illegal_lines(complaint):
    """The complaint names the field and what it should be."""
    with pytest.raises(HistoryError, match=complaint):
        parse(ILLEGAL[complaint])


def test_the_file_and_the_line_are_named(tmp_path):
    """Someone has to find it among a million."""
    path = tmp_path / "tickets.ndjson"
    path.write_text(f"{line()}\n\n{line(by=0)}\n")
    with pytest.raises(HistoryError, match=r"tickets\.ndjson, line 3: op 'add' needs a 'by' other than 0"):
        load(path)


def test_what_is_no_text_is_no_history(tmp_path):
    """Bytes that are not UTF-8 are a complaint, not a crash."""
    path = tmp_path / "bytes"
    path.write_bytes(b'{"name": "\xff"}\n')
    with pytest.raises(HistoryError, match="line 1: not UTF-8"):
        load(path)


def test_empty_lines_say_nothing(tmp_path):
    """An editor's last newline is no operation; Windows line ends do no harm."""
    path = tmp_path / "tickets.ndjson"
    path.write_bytes(b"\r\n" + line().encode() + b"\r\n\n" + line(process=4).encode())
    assert [operation.process for operation in load(path)] == [3, 4]


def test_an_empty_file_is_an_empty_history(tmp_path):
    """Nothing was seen."""
    path = tmp_path / "nothing"
    path.touch()
    assert load(path) == []


times = st.integers(0, 2**62)
operations = st.one_of(
    st.builds(
        lambda process, name, by, key, call, took, value, version: Operation(
            process, "add", name, by, None, key, call, call + took, "ok", False, value, version
        ),
        st.integers(),
        st.text(min_size=1),
        st.integers().filter(bool),
        st.none() | st.text(),
        times,
        times,
        st.integers(),
        st.none() | st.integers(0),
    ),
    st.builds(
        lambda by, limit, call: Operation(1, "take", "n", by, limit, None, call, None, "info"),
        st.integers().filter(bool),
        st.none() | st.integers(),
        times,
    ),
)


@given(st.lists(operations))
def test_what_is_written_is_read(tmp_path_factory, written):
    """Whatever the names and numbers: one operation a line, and the same ones back."""
    path = tmp_path_factory.mktemp("history") / "h.ndjson"
    write(path, written)
    assert load(path) == written
    assert len(path.read_bytes().splitlines()) == len(written)


def span(call, ret, outcome="ok"):
    return ADD._replace(call=call, ret=ret, outcome=outcome)


def test_max_in_flight():
    """Closed intervals: touching is overlap, an instant apart is not."""
    assert max_in_flight([]) == 0
    assert max_in_flight([span(0, 5)]) == 1
    assert max_in_flight([span(0, 5), span(5, 9)]) == 2
    assert max_in_flight([span(0, 4), span(5, 9)]) == 1
    assert max_in_flight([span(0, 9), span(1, 2), span(3, 4), span(4, 5)]) == 3


def test_max_in_flight_believes_only_what_was_seen():
    """Without a return, the call is all there is: timeouts one after the other make no crowd."""
    assert max_in_flight([span(0, None, "info"), span(5, None, "info")]) == 1
    assert max_in_flight([span(0, 7, "info"), span(5, None, "info")]) == 2


def test_max_in_flight_agrees_with_counting():
    """Against the plain definition, at every instant."""
    rng = random.Random(5)
    for _ in range(200):
        spans = [span(call, call + rng.randrange(6)) for call in (rng.randrange(20) for _ in range(9))]
        most = max(sum(one.call <= now <= one.ret for one in spans) for now in range(30))
        assert max_in_flight(spans) == most
