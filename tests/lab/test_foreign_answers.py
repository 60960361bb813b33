"""Where the number is, and what may be raced: found where there is one way to read it, asked where there are more."""

import pytest

from quart_counter.errors import ConfigurationError
from quart_counter.lab.foreign import answers, target
from quart_counter.lab.foreign.answers import Answer, agree, candidates, parse
from quart_counter.lab.foreign.race import complaint
from quart_counter.lab.foreign.volley import outcome_of

URL = "http://127.0.0.1/tickets"

FOUND = [
    (b'{"value": 7}', "json:/value", 7),
    (b'{"name": "tickets", "value": "7"}', "json:/value", 7),
    (b'{"data": [{"ticket/no~": 7}]}', "json:/data/0/ticket~1no~0", 7),
    (b'{"value": 7, "fresh": true, "took": 0.5, "next": null}', "json:/value", 7),
    (b"7", "json:", 7),
    (b'"7"\n', "json:", 7),
    (b"You are number 7.", "text:", 7),
    (b"<h1>7</h1>", "text:", 7),
    (b"number:7 of v1.2, in 0.25s, at 12:30 on 2026-11-21 or 21/11/2026, x4, 1,000", "text:", 7),
    (b"-3", "json:", -3),
    ("Sie sind Nummer 7 \xfc".encode("latin-1"), "text:", 7),
]


@pytest.mark.parametrize(("body", "where", "number"), FOUND)
def test_the_only_integer_is_the_number(body, where, number):
    """And the words that --answer would take find it again."""
    answer = Answer(200, [], body)
    extractor = agree(answer)
    assert (str(extractor), extractor.number(answer)) == (where, number)
    assert parse(where).number(answer) == number


ASKED = [
    (b'{"ticket": 7, "version": 9}', ["json:/ticket", "json:/version"]),
    (b'{"a": {"value": 7}, "b": {"value": 9}}', ["json:/a/value", "json:/b/value"]),
    (b"Ticket 7, room 9", ["regex:Ticket (-?\\d+)", "regex:Ticket \\d+, room (-?\\d+)"]),
    (b"You are number 1 of 2026", ["regex:You are number (-?\\d+)", "regex:are number \\d+ of (-?\\d+)"]),
    (b"7 of 9", [r"regex:(-?\d+)", r"regex:\d+ of (-?\d+)"]),
    (b"room 3\nroom 4\n", [r"regex:room (-?\d+)", r"regex:\A(?:\D*\d+){1}\D*?(-?\d+)"]),
]


@pytest.mark.parametrize(("body", "choices"), ASKED)
def test_of_several_integers_somebody_must_choose(body, choices):
    """Each choice is written as --answer takes it, and finds its number."""
    answer = Answer(200, [("date", "x"), ("content-length", "27")], body)
    with pytest.raises(ConfigurationError, match="holds 2 integers") as told:
        agree(answer)
    for choice, candidate in zip(choices, candidates(answer), strict=True):
        assert f"--answer '{choice}'  now {candidate.number}" in str(told.value)
        assert parse(choice).number(answer) == candidate.number


@pytest.mark.parametrize(
    ("one", "other"), [(b"You are number 9 of 2026", b"You are number 10 of 2027"), (b"1/7 2 3", b"20/8 31 4")]
)
def test_what_is_offered_fits_the_next_answer_too(one, other):
    """No pattern holds a number that may change."""
    found, then = (candidates(Answer(200, [], body)) for body in (one, other))
    assert [first.extractor.number(Answer(200, [], other)) for first in found] == [later.number for later in then]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"value": 7, "version": 9}', "json:/value"),
        (b'{"took_ms": 3, "data": {"Count": 7}}', "json:/data/Count"),
    ],
)
def test_an_obvious_name_is_taken_and_told(body, where):
    assert (str(agree(Answer(200, [], body))), agree(Answer(200, [], body)).among) == (where, 2)


def test_a_header_is_offered_and_never_guessed():
    """It may be a process id, or a limit."""
    answer = Answer(204, [("x-number", "7"), ("content-length", "0")])
    with pytest.raises(ConfigurationError, match=r"no integer in its body.*\n.*header:x-number'  now 7") as told:
        agree(answer)
    assert "content-length" not in str(told.value)
    assert parse("header:X-Number").number(answer) == 7


@pytest.mark.parametrize(("body", "shown"), [(b"", "its body is empty"), (b"ok\n" * 99, "'ok ok ok")])
def test_an_answer_without_a_number_is_shown(body, shown):
    with pytest.raises(ConfigurationError, match=f"holds no integer: {shown}") as told:
        agree(Answer(200, [], body))
    assert len(str(told.value)) < 200


def test_what_a_server_says_does_nothing_to_a_terminal():
    answer = Answer(405, [("allow", "\x1b[2J")], b'{"a\\u001b[2J": 1, "b": 2}', "\x1b[31mNo")
    assert complaint("POST", URL, answer) == (
        f"POST {URL} answered 405 \\x1b[31mNo (it allows \\x1b[2J): name the method with --method"
    )
    with pytest.raises(ConfigurationError, match=r"json:/a\\x1b\[2J"):
        agree(answer)


@pytest.mark.parametrize("deep", [900, 985, 5000])
def test_nesting_as_deep_as_a_server_likes_is_no_error(deep):
    """What the parser still reads, and looking for integers does not, differs from Python to Python."""
    assert [one.number for one in candidates(Answer(200, body=b"[" * deep + b"7" + b"]" * deep))] == [7]


@pytest.mark.parametrize(
    ("given", "body", "number"),
    [
        ("json:/a/1", b'{"a": [1, 2]}', 2),
        ("json:/a/2", b'{"a": [1, 2]}', None),
        ("json:/a/-", b'{"a": [1, 2]}', None),
        ("json:/b", b'{"a": [1, 2]}', None),
        ("json:/a", b'{"a": true}', None),
        ("json:/a/b", b'{"a": 1}', None),
        ("json:/a", b"not JSON", None),
        ("json:/a", b"[" * 100_000, None),
        ("json:/a", b'{"a": ' + b"9" * 5000 + b"}", None),
        (r"regex:n=\d+", b"n=7", None),
        (r"regex:n=(\d+)", b"n=7", 7),
        (r"regex:\d+", b"n=7", 7),
        ("text:", b"7 or 8", None),
        ("header:n", b"7", None),
    ],
)
def test_an_extractor_finds_its_number_or_none(given, body, number):
    assert parse(given).number(Answer(200, [], body)) == number


@pytest.mark.parametrize("given", ["value", "json:value", "regex:(", "header:", "xpath:/a", ""])
def test_a_place_that_is_none(given):
    with pytest.raises(ConfigurationError, match="--answer"):
        parse(given)


def test_what_a_status_says_of_the_effect():
    """Ours is the cautious reading: only what cannot have counted failed."""
    assert {outcome_of(status) for status in (200, 201, 204)} == {"ok"}
    assert {outcome_of(status) for status in (400, 404, 409, 429, 304, 307, 308)} == {"fail"}
    assert {outcome_of(status) for status in (301, 302, 303, 500, 502, 503, 504)} == {"info"}


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (Answer(303, [("location", "/here")]), "303 See Other, to '/here': race the address"),
        (Answer(405, [("allow", "GET")]), r"405 Method Not Allowed \(it allows GET\): name the method with --method"),
        (Answer(401, []), "--header"),
        (Answer(422, []), "--body"),
        (Answer(404, [], b"", "NOT FOUND"), "POST http://h/ answered 404 NOT FOUND$"),
        (Answer(599, []), "answered 599$"),
    ],
)
def test_an_answer_that_is_none_is_explained(answer, hint):
    with pytest.raises(AssertionError, match=hint):
        raise AssertionError(complaint("POST", "http://h/", answer))


# --- the target ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"])
def test_this_machine_may_be_raced(host):
    url = f"http://{host}:5000/"
    try:
        aimed = target.aim(url, target.compose(url))
    except ConfigurationError as error:  # no IPv6 here
        pytest.skip(str(error))
    assert aimed.trusted
    assert {place.port for place in aimed.places} == {5000}


@pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
def test_others_may_not_unless_somebody_owns_them(host):
    url = f"https://{host}/"
    with pytest.raises(ConfigurationError, match="--i-own"):
        target.aim(url, target.compose(url), owned=["192.0.2.10"])
    aimed = target.aim(url, target.compose(url), owned=[host.strip("[]")])
    assert not aimed.trusted
    assert aimed.places[0].port == 443


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://localhost/", "begins with http"),
        ("http:///x", "begins with http"),
        ("http://localhost:0/", "begins with http"),
        ("http://localhost:x/", "is not a URL"),
        ("http://[::1/", "is not a URL"),
        ("http://no.such.host.invalid/", "nobody knows a host"),
        ("http://" + "a" * 300 + "/", "nobody knows a host"),
    ],
)
def test_what_is_no_url(url, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        target.aim(url, target.compose(url))


def test_a_request_says_what_http_wants():
    asked = target.compose("http://me:p%40ss@localhost:5000/n\u00fcmmer?q=a b#x", "POST", [], b'{"by": 1}')
    assert asked.path == "/n%C3%BCmmer?q=a%20b"
    assert dict(asked.headers) == {
        "Host": "localhost:5000",
        "Accept": "*/*",
        "User-Agent": "quart-counter race",
        "Authorization": "Basic bWU6cEBzcw==",
        "Content-Type": "application/json",
        "Content-Length": "9",
    }


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"[1]", "application/json"), (b"a=1&b=2", "application/x-www-form-urlencoded"), (b"hi = you", "text/plain")],
)
def test_a_body_tells_its_kind_and_a_caller_may_tell_another(body, kind):
    assert dict(target.compose("http://h", body=body).headers)["Content-Type"] == kind
    given = target.compose("http://h", headers=[("content-type", "x/y"), ("host", "other")], body=body)
    assert [value for name, value in given.headers if name.lower() in ("content-type", "host")] == ["x/y", "other"]


def test_a_password_is_sent_and_not_shown():
    url = "http://me:p%40ss@127.0.0.1:5000/t?q=1"
    aimed = target.aim(url, target.compose(url))
    assert aimed.url == "http://127.0.0.1:5000/t?q=1"


def test_a_get_carries_no_length():
    assert "Content-Length" not in dict(target.compose("http://h", "GET").headers)
    assert dict(target.compose("http://h", "PUT").headers)["Content-Length"] == "0"


@pytest.mark.parametrize("line", ["X", ": y", "a b: c", "X: a\r\nEvil: 1", "Content-Length: 5", "Connection: close"])
def test_what_is_no_header(line):
    with pytest.raises(ConfigurationError, match="header"):
        target.header(line)


@pytest.mark.parametrize("method", ["", "G T", "GET\r\n"])
def test_what_is_no_method(method):
    with pytest.raises(ConfigurationError, match="is not an HTTP method"):
        target.compose("http://h", method)


def test_a_body_may_lie_in_a_file(tmp_path):
    (tmp_path / "body.json").write_bytes(b"{}\xff")
    assert target.body_of(f"@{tmp_path / 'body.json'}") == b"{}\xff"
    assert target.body_of("text") == b"text"
    with pytest.raises(ConfigurationError, match=r"cannot be read from .*missing"):
        target.body_of(f"@{tmp_path / 'missing'}")


def test_every_extractor_is_offered_in_the_sentence():
    with pytest.raises(ConfigurationError) as told:
        parse("?")
    assert all(f"{kind}:" in str(told.value) for kind in answers._FINDERS if kind != "text")


@pytest.mark.parametrize(
    ("pattern", "body"), [("(a+)+$", b"a" * 60 + b"!"), (r".*.*=(\d+)", b"a" * 20_000), ("a*b", b"a" * 500_000)]
)
def test_a_pattern_that_never_ends_is_given_up(pattern, body):
    """Nobody waits for it: a match holds the loop, and no timeout of a request is heard meanwhile."""
    extractor = parse(f"regex:{pattern}")
    with pytest.raises(ConfigurationError, match="does not come to an end") as told:
        extractor.number(Answer(200, body=body))
    assert f"{len(body)} characters" in str(told.value)
    assert parse(r"regex:n=(\d+)").number(Answer(200, body=b" " * 1_000_000 + b"n=7")) == 7
