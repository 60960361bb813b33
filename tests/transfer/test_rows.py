"""A counter's line: what is written is read again, and a wrong line is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_counter.errors import InvalidChange
from quart_counter.model import MAX_VALUE, MAX_VERSION, NAME
from quart_counter.transfer.rows import Row, from_line, to_line

ROWS = st.builds(
    Row, st.from_regex(NAME, fullmatch=True), st.integers(-MAX_VALUE, MAX_VALUE), st.integers(1, MAX_VERSION)
)


@given(ROWS)
def test_what_is_written_is_read_again(row):
    line = to_line(row)
    assert from_line(line) == row
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_the_line_is_the_one_that_is_promised():
    assert to_line(Row("tickets", 7, 9)) == b'{"name":"tickets","value":7,"version":9}\n'


@pytest.mark.parametrize(
    ("line", "row"),
    [
        (b'{"value": 7, "name": "t"}', Row("t", 7, 1)),
        (b' {"name": "t", "value": -7, "version": 3} \r\n', Row("t", -7, 3)),
    ],
)
def test_a_person_may_write_it(line, row):
    assert from_line(line) == row


BAD = [
    (b"tickets 7", "it is not a line like"),
    (b"[]", "it is not a line like"),
    (b"7", "it is not a line like"),
    (b"\xff", "it is not a line like"),
    (b"[" * 60_000, "it is not a line like"),
    (b'{"name":"t","value":7', "it is not a line like"),
    (b'{"name":"t","value":7,"value":8}', "it is not a line like"),
    (b'{"name":"t","value":' + b"9" * 5000 + b"}", "it is not a line like"),
    (b'{"value":7}', "it has no name"),
    (b'{"name":"t"}', "it has no value"),
    (b'{"name":"t","value":7,"by":1}', "it has a field 'by'"),
    (b'{"name":"a b","value":7}', "is no counter name"),
    (b'{"name":7,"value":7}', "is no counter name"),
    (b'{"name":"~session.1","value":7}', "is no counter name"),
    (b'{"name":"t","value":null}', "value must be a whole number, not null"),
    (b'{"name":"t","value":true}', "value must be a whole number"),
    (b'{"name":"t","value":7.0}', "value must be a whole number"),
    (b'{"name":"t","value":NaN}', "value must be a whole number"),
    (b'{"name":"t","value":"7"}', "value must be a whole number"),
    (b'{"name":"t","value":9007199254740992}', "value must lie within"),
    (b'{"name":"t","value":7,"version":null}', "version must be a whole number, not null"),
    (b'{"name":"t","value":7,"version":0}', "version must be 1 or more"),
    (b'{"name":"t","value":7,"version":-1}', "version must be 1 or more"),
    (b'{"name":"t","value":7,"version":4503599627370497}', "version must lie within"),
]


@pytest.mark.parametrize(("line", "sentence"), BAD, ids=[f"{i}-{bad[1]}" for i, bad in enumerate(BAD)])
def test_a_wrong_line_is_named(line, sentence):
    with pytest.raises(InvalidChange, match=sentence):
        from_line(line)
